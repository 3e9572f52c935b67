// An answer as a person reads it: labels with bars, tables, text, pictures, else a tree of JSON.
import { make, plural } from "./elements.js";

const MAX_ROWS = 20;
const MAX_BARS = 12;
const MAX_ITEMS = 100; // of a list or object in the tree
const MAX_TEXT = 100_000;
const PREVIEWED = 3; // values of a closed object
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const TEXT_KEYS = ["text", "chunk", "token", "delta", "content", "response"];

export function showValue(value) {
  const shares = sharesOf(value);
  if (shares) return withJson(bars(shares), value);
  const rows = rowsOf(value);
  if (rows) return withJson(table(rows), value);
  if (typeof value === "string") return make("div", "conduit-form-text", value.slice(0, MAX_TEXT));
  const picture = pictureOf(value);
  if (picture) return picture;
  return tree(value);
}

function withJson(shown, value) {
  const more = make("details", "conduit-form-more", make("summary", "", "JSON"));
  more.addEventListener("toggle", () => more.children.length === 1 && more.append(tree(value)), { once: true });
  return make("div", "", shown, more);
}

// [[label, share], ...], the likeliest first: of a prediction, of several of them, of shares by label.
function sharesOf(value) {
  if (isObject(value) && isShares(value.probabilities)) return sorted(Object.entries(value.probabilities));
  if (isShares(value)) return sorted(Object.entries(value));
  if (!Array.isArray(value) || value.length < 2) return undefined;
  const isLabelled = (each) => isObject(each) && typeof each.label === "string" && isShare(each.score);
  return value.every(isLabelled) && value.every((each) => Object.keys(each).length === 2) ? value.map(({ label, score }) => [label, score]) : undefined;
}

function sorted(pairs) {
  return pairs.sort(([, left], [, right]) => right - left);
}

function isShares(value) {
  if (!isObject(value)) return false;
  const every = Object.values(value);
  const total = every.reduce((sum, each) => sum + each, 0);
  return every.length > 1 && every.every(isShare) && Math.abs(total - 1) < 0.01;
}

function isShare(value) {
  return typeof value === "number" && value >= 0 && value <= 1;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function bars(shares) {
  const root = make("table", "conduit-form-bars");
  for (const [label, share] of shares.slice(0, MAX_BARS)) {
    const bar = make("span", "conduit-form-bar");
    bar.style.width = `${100 * share}%`;
    root.append(make("tr", "", make("th", "", label), make("td", "conduit-form-track", bar), make("td", "conduit-form-figure", share.toFixed(3))));
  }
  const left = shares.length - MAX_BARS;
  return left > 0 ? make("div", "", root, make("div", "conduit-form-kind", `and ${plural(left, "more label")}`)) : root;
}

function rowsOf(value) {
  const isRow = (each) => isObject(each) && Object.values(each).every((cell) => typeof cell !== "object" || cell === null);
  if (!Array.isArray(value) || value.length === 0 || !value.every(isRow)) return undefined;
  const columns = [...new Set(value.flatMap(Object.keys))];
  return columns.length > 0 && columns.length <= 12 ? { columns, rows: value } : undefined;
}

function table({ columns, rows }) {
  const head = make("tr", "", ...columns.map((each) => make("th", "", each)));
  const body = make("tbody");
  for (const row of rows.slice(0, MAX_ROWS)) {
    const cells = columns.map((name) => {
      const cell = row[name];
      return make("td", typeof cell === "number" ? "conduit-form-figure" : "", cell === undefined ? "" : shortText(cell));
    });
    body.append(make("tr", "", ...cells));
  }
  const shown = make("div", "conduit-form-scroll", make("table", "conduit-form-table", make("thead", "", head), body));
  const left = rows.length - MAX_ROWS;
  return left > 0 ? make("div", "", shown, make("div", "conduit-form-kind", `and ${plural(left, "more row")}`)) : shown;
}

function shortText(cell) {
  return typeof cell === "string" ? cell.slice(0, 300) : String(cell);
}

function pictureOf(value) {
  if (!isObject(value) || !PICTURES.has(value.type) || typeof value.base64 !== "string") return undefined;
  const picture = make("img", "conduit-form-picture");
  picture.src = `data:${value.type};base64,${value.base64}`;
  picture.alt = "the answer";
  return picture;
}

function tree(value) {
  return make("div", "conduit-form-tree", branch(value, 0));
}

function branch(value, depth, name = "") {
  const key = name === "" ? [] : [make("span", "conduit-form-kind", `${name}: `)];
  if (typeof value !== "object" || value === null) return make("div", "", ...key, leaf(value));
  const isList = Array.isArray(value);
  const keys = Object.keys(value);
  const isFlat = isList && keys.length <= 16 && value.every((each) => typeof each !== "object");
  if (keys.length === 0 || isFlat) {
    const parts = keys.flatMap((key, place) => (place ? [", ", leaf(value[key])] : [leaf(value[key])]));
    return make("div", "", ...key, isList ? "[" : "{", ...parts, isList ? "]" : "}");
  }
  const isTop = depth === 0 && keys.length <= 40; // shown as it is, without a line of its own
  const root = isTop ? make("div") : make("details", "", make("summary", "", ...key, isList ? plural(keys.length, "item") : preview(value)));
  const fill = () => {
    const indent = isTop ? "" : "conduit-form-branch";
    for (const each of keys.slice(0, MAX_ITEMS)) root.append(make("div", indent, branch(value[each], depth + 1, each)));
    if (keys.length > MAX_ITEMS) root.append(make("div", "conduit-form-kind", `and ${plural(keys.length - MAX_ITEMS, "more item")}`));
  };
  if (depth < 2 && keys.length <= 40) {
    root.open = true;
    fill();
  } else {
    root.addEventListener("toggle", fill, { once: true });
  }
  return root;
}

// The first plain values of a closed object, on one line that its style clips.
function preview(value) {
  const known = Object.entries(value).filter(([, each]) => typeof each !== "object" || each === null);
  const parts = known.slice(0, PREVIEWED).map(([key, each]) => `${key}: ${JSON.stringify(typeof each === "string" ? each.slice(0, 60) : each)}`);
  const left = Object.keys(value).length - parts.length;
  return `{${[...parts, ...(left > 0 ? [`${parts.length > 0 ? "+ " : ""}${plural(left, "key")}`] : [])].join(", ")}}`;
}

function leaf(value) {
  const text = JSON.stringify(value) ?? "null";
  return make("span", `conduit-form-${value === null ? "null" : typeof value}`, text.slice(0, 2000));
}

// A stream as it arrives: text is joined, any other chunk is a line of JSON.
export class StreamAnswer {
  constructor() {
    this.root = make("div", "conduit-form-stream");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "region");
    this.root.setAttribute("aria-label", "stream");
    this.count = 0;
    this.characters = 0;
  }

  add(chunk) {
    const follows = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 8;
    const text = textOf(chunk);
    this.count += 1;
    if (this.characters < MAX_TEXT) {
      const shown = text ?? JSON.stringify(chunk);
      this.characters += shown.length;
      if (text !== undefined && this.line === undefined) this.append(text);
      else this.root.append((this.line = make("div", "conduit-form-line", shown)));
    }
    if (follows) this.root.scrollTop = this.root.scrollHeight;
  }

  append(text) {
    if (this.run === undefined) this.root.append((this.run = document.createTextNode("")));
    this.run.appendData(text);
  }
}

function textOf(chunk) {
  if (typeof chunk === "string") return chunk;
  if (!isObject(chunk)) return undefined;
  const key = TEXT_KEYS.find((each) => typeof chunk[each] === "string");
  return key === undefined ? undefined : chunk[key];
}
