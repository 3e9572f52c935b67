// Shared parts of the views' page sides. hub.py concatenates them, without a build step.
// Messages of a kernel reach the page through text nodes and escaped text only.

export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

export function labelled(node, role, label) {
  if (role) node.setAttribute("role", role);
  if (label) node.setAttribute("aria-label", label);
  return node;
}

export function button(label, title, onClick, className = "") {
  const node = element("button", `conduit-button ${className}`.trim(), label);
  node.type = "button";
  node.title = title;
  node.addEventListener("click", onClick);
  return node;
}

// A header line: its kind · its name · its state and figures, with actions at the right.
export class Header {
  constructor(kind, name, ...actions) {
    this.kind = kind;
    this.name = name;
    this.facts = [];
    this.root = element("div", "conduit-header");
    this.mark = element("span", "conduit-mark");
    this.mark.setAttribute("aria-hidden", "true");
    this.figures = element("span", "conduit-quiet");
    const title = element("div", "conduit-title");
    title.append(
      element("span", "conduit-quiet", `${kind} `),
      element("b", "", name),
      element("span", "conduit-quiet", " · "),
      this.mark,
      this.figures,
    );
    this.root.append(title, ...actions);
  }

  // `facts` are as in Python: "● running" first, then the figures.
  show(facts) {
    this.facts = facts;
    const [state = "", ...rest] = facts;
    const [mark, ...words] = state.split(" ");
    this.state = words.join(" ");
    this.mark.textContent = mark;
    this.mark.dataset.state = this.state;
    this.figures.textContent = ` ${[this.state, ...rest].join(" · ")}`;
  }

  get ended() {
    return this.state !== undefined && this.state !== "pending" && this.state !== "running";
  }
}

// Announces whole sentences: token by token, screen reader output would be unusable.
export class Speaker {
  constructor() {
    this.root = element("div", "conduit-spoken");
    this.root.setAttribute("aria-live", "polite");
    this.pending = "";
  }

  hear(text) {
    this.pending += text;
    const sentences = this.pending.match(/^[\s\S]*(?:[.!?…]\s|\n)/);
    if (sentences === null) return;
    this.root.textContent = sentences[0].trim();
    this.pending = this.pending.slice(sentences[0].length);
  }
}

// A box that follows its end until the reader scrolls up, and keeps its scroll position when moved.
export class Box {
  constructor(label) {
    this.root = element("div", "conduit-box");
    this.root.tabIndex = 0; // so that the keyboard can scroll it
    this.root.setAttribute("role", "region");
    this.root.setAttribute("aria-label", label);
    this.top = 0;
    this.root.addEventListener("scroll", () => {
      if (this.root.isConnected) this.top = this.root.scrollTop;
    });
  }

  // Call `change`, then scroll to the end if the reader was there.
  grow(change) {
    const { root } = this;
    const followed = root.scrollHeight - root.scrollTop - root.clientHeight < 8;
    change();
    if (followed) root.scrollTop = root.scrollHeight;
    this.top = root.scrollTop;
  }

  placed() {
    this.root.scrollTop = this.top;
  }
}

// Tables, whose cells have text, a muted suffix and a bar behind them

const FILL = "rgba(0,114,178,.2)";

export function table({ columns, numeric, rows }) {
  const root = element("table");
  const head = element("tr");
  columns.forEach((column, place) => {
    const cell = element("th", numeric[place] ? "conduit-table-number" : "", column);
    cell.scope = "col";
    head.append(cell);
  });
  const top = element("thead");
  const body = element("tbody");
  top.append(head);
  for (const row of rows) {
    const line = element("tr");
    row.forEach((cell, place) => line.append(tableCell(cell, numeric[place])));
    body.append(line);
  }
  root.append(top, body);
  return root;
}

function tableCell({ text, suffix = "", share = 0 }, isNumber) {
  const cell = element("td", isNumber ? "conduit-table-number" : "", text);
  if (suffix) cell.append(element("span", "conduit-quiet", suffix));
  if (share > 0) {
    const end = `${Math.round(100 * Math.min(1, share))}%`;
    cell.classList.add("conduit-table-bar");
    cell.style.background = `linear-gradient(to right, ${FILL} ${end}, transparent ${end})`;
  }
  return cell;
}

export function more(text) {
  return text ? [element("div", "conduit-quiet", text)] : [];
}

export function link(url) {
  if (!url.startsWith("http://")) return element("span", "", url);
  const anchor = element("a", "", url);
  anchor.href = url;
  anchor.target = "_blank";
  anchor.rel = "noopener";
  return anchor;
}

// Static HTML like that of conduit_lab/core/views/html.py

const STATIC =
  "font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:20px;font-variant-numeric:tabular-nums";

export function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

export function staticHeader(kind, name, facts) {
  const rest = facts.map((fact) => `<span style="opacity:.7"> · ${escapeHtml(fact)}</span>`).join("");
  return `<div style="${STATIC}"><span style="opacity:.7">${escapeHtml(kind)}</span>${name && " "}<b>${escapeHtml(name)}</b>${rest}</div>`;
}

export function staticText(text) {
  return (
    `<div style="font-family:monospace;font-size:13px;line-height:20px;white-space:pre-wrap;overflow-wrap:break-word;` +
    `max-height:320px;overflow-y:auto;border-top:1px solid rgba(128,128,128,.35);padding:4px 0;margin-top:4px">${escapeHtml(text)}</div>`
  );
}
