import { Header, button, element, labelled } from "../shared.js";
import { PointMap, decode } from "./map.js";
import { counted, encode, listed, marked, part } from "./parts.js";

// The page side of an explorer; view.py describes the protocol.

const TYPING_MS = 30;
const HOVER_MS = 80;
const MODES = { dense: "by meaning", lexical: "by words", hybrid: "by both" };

class ExplorerView {
  constructor({ send }) {
    this.send = send;
    this.serial = 0;
    this.answered = 0;
    this.selecting = 0;
    this.filters = new Map(); // field → set of categories
    this.colors = new Map(); // field → its message, with the codes decoded
    this.where = "";
    this.build();
  }

  build() {
    this.root = labelled(element("div", "conduit-view conduit-explorer"), "group");
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.clear();
    });
    this.header = new Header("Explorer", "");
    this.map = new PointMap({
      onPick: (place) => this.open({ place }),
      onHover: (place, x, y) => this.hover(place, x, y),
      onLasso: (places) => this.select(places),
    });
    this.peek = part("div", "peek");
    this.peek.hidden = true;
    this.map.root.append(this.peek);
    this.lassoButton = button("Lasso", "Draw around entries to select them (or drag with Shift)", () => this.toggleLasso());
    this.field = labelled(part("select", "select"), null, "Colour by");
    this.field.addEventListener("change", () => this.chooseField());
    const by = element("label", "conduit-quiet", "colour ");
    by.append(this.field);
    this.duplicates = button("", "Select entries with a cosine of 0.95 or more to another", () => this.mark("groups"));
    this.outliers = button("", "Select entries far from their nearest neighbours", () => this.mark("outliers"));
    this.duplicates.hidden = true;
    this.outliers.hidden = true;
    const zoomIn = button("+", "Zoom in (+)", () => this.map.zoom(1.5));
    const zoomOut = button("−", "Zoom out (-)", () => this.map.zoom(1 / 1.5));
    const fit = button("Fit", "Show the whole map (0)", () => this.map.fit());
    const bar = part("div", "bar");
    bar.append(by, this.lassoButton, zoomIn, zoomOut, fit, this.duplicates, this.outliers);
    this.chips = labelled(part("div", "chips"), "group", "Filter by value");
    this.whereLine = part("div", "where");
    const left = part("div", "left");
    left.append(bar, this.map.root, this.chips, this.whereLine);

    this.box = labelled(part("input", "query"), null, "Search the store");
    this.box.type = "search";
    this.box.addEventListener("input", () => this.type());
    this.box.addEventListener("keydown", (event) => this.boxKey(event));
    this.mode = labelled(part("select", "select"), null, "Search mode");
    this.mode.addEventListener("change", () => this.search());
    const ask = part("div", "ask");
    ask.append(this.box, this.mode);
    this.listTitle = part("div", "list-title");
    this.listTitle.setAttribute("aria-live", "polite");
    this.list = labelled(part("div", "list"), "list");
    this.list.addEventListener("keydown", (event) => this.listKey(event));
    this.entry = part("div", "entry");
    this.entry.setAttribute("aria-live", "polite");
    const right = part("div", "right");
    right.append(ask, this.listTitle, this.list, this.entry);
    const columns = part("div", "columns");
    columns.append(left, right);
    this.root.append(this.header.root, columns);
  }

  placed() {
    this.map.resize();
  }

  close() {
    this.map.observer.disconnect();
    clearTimeout(this.typing);
  }

  snapshot() {
    return this.staticHtml;
  }

  receive(message) {
    const { kind } = message;
    this[`show${kind[0].toUpperCase()}${kind.slice(1)}`]?.(message);
  }

  showMap(message) {
    const header = new Header("Explorer", message.name);
    header.figures.textContent = message.facts.join(" · ");
    this.header.root.replaceWith(header.root);
    this.header = header;
    this.root.setAttribute("aria-label", `Explorer of ${message.name}`);
    this.info = message;
    this.colors.clear();
    this.map.load(message);
    labelled(this.map.overlay, null, `Map of ${message.facts.join(", ")}: arrows move it, plus and minus zoom, 0 shows all`);
    this.field.replaceChildren(...message.fields.map((field) => new Option(field, field)));
    const modes = message.text ? Object.keys(MODES) : ["lexical"];
    this.mode.replaceChildren(...modes.map((mode) => new Option(MODES[mode], mode)));
    this.box.placeholder = message.text ? "search as you type" : "by words: without an embedder, meaning takes a vector";
    this.box.disabled = message.count === 0;
    if (message.count === 0) this.say("There is nothing to show yet: store.add_texts([…]), then store.explore()");
    else if (message.questions.length > 0) this.showQuestions(message);
    else this.say("Type a query, click a point, or draw a lasso.");
  }

  showColors(message) {
    message.codes = decode(message.codes, Uint8Array);
    this.colors.set(message.field, message);
    this.field.value = message.field;
    this.paint(message);
  }

  paint(colors) {
    this.current = colors;
    this.map.color(colors.codes, colors.categories, colors.restColor);
    this.showChips();
  }

  chooseField() {
    const known = this.colors.get(this.field.value);
    if (known) this.paint(known);
    this.send({ do: "color", field: this.field.value });
  }

  showChips() {
    const { field, categories, rest } = this.current;
    const chosen = this.filters.get(field) ?? new Set();
    categories.forEach((category, code) => (category.hidden = chosen.size > 0 && !chosen.has(code)));
    const chips = categories.map(({ label, color, entries, where }, code) => {
      const chip = button("", `Show only ${label}${where ? "" : "; a cluster filters no search"}`, () => this.toggleChip(code), "conduit-explorer-chip");
      const square = part("span", "square");
      square.style.background = color;
      square.setAttribute("aria-hidden", "true");
      chip.append(square, element("span", "", label), element("span", "conduit-quiet", counted(entries, "", "").trim()));
      chip.setAttribute("aria-pressed", String(chosen.has(code)));
      return chip;
    });
    if (rest) chips.push(element("span", "conduit-quiet", rest));
    for (const [other, codes] of this.filters) {
      if (other === field) continue;
      const labels = [...codes].map((code) => this.colors.get(other).categories[code].label).join(", ");
      chips.push(button(`${other}: ${labels} ×`, "Remove this filter", () => this.setFilter(other, new Set()), "conduit-explorer-chip"));
    }
    this.chips.replaceChildren(...chips);
  }

  toggleChip(code) {
    const { field } = this.current;
    const chosen = new Set(this.filters.get(field));
    if (!chosen.delete(code)) chosen.add(code);
    this.setFilter(field, chosen);
  }

  setFilter(field, codes) {
    if (codes.size > 0) this.filters.set(field, codes);
    else this.filters.delete(field);
    this.map.hidden = this.hidden();
    this.map.draw();
    this.showChips();
    this.send({ do: "filter", filters: Object.fromEntries([...this.filters].map(([key, chosen]) => [key, [...chosen]])) });
    if (this.box.value.trim()) this.search();
  }

  hidden() {
    if (this.filters.size === 0) return null;
    const hidden = new Uint8Array(this.info.count);
    for (const [field, chosen] of this.filters) {
      const { codes } = this.colors.get(field);
      for (let i = 0; i < codes.length; i += 1) if (!chosen.has(codes[i])) hidden[i] = 1;
    }
    return hidden;
  }

  showStatic({ html }) {
    this.staticHtml = html;
  }

  showWhere({ text }) {
    this.whereLine.replaceChildren();
    if (!text) return;
    const copy = button("Copy", "Copy this filter", async () => {
      await navigator.clipboard?.writeText(text);
      copy.textContent = "Copied";
    });
    this.whereLine.append(element("code", "conduit-code", text), copy);
  }

  type() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.search(), TYPING_MS);
  }

  search() {
    clearTimeout(this.typing);
    this.serial += 1;
    this.send({ do: "search", text: this.box.value, mode: this.mode.value, serial: this.serial });
  }

  boxKey(event) {
    if (event.key === "Enter") this.search();
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    this.list.querySelector("button")?.focus();
  }

  listKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const rows = [...this.list.querySelectorAll("button")];
    const next = rows.indexOf(document.activeElement) + step;
    (next < 0 ? this.box : rows[Math.min(next, rows.length - 1)])?.focus();
  }

  showHits(message) {
    if (message.serial < this.serial || message.serial < this.answered) return;
    this.answered = message.serial;
    const { hits, ring, query } = message;
    if (message.serial === 0 && query !== null) this.box.value = query;
    this.map.hits = hits.filter(({ at }) => at);
    this.map.ring = ring;
    this.map.draw();
    if (hits.length === 0 && !query) {
      this.say("");
      return;
    }
    const time = message.milliseconds ? ` · ${message.milliseconds} ms` : "";
    this.listTitle.textContent = `${counted(hits.length, "hit", "hits")} · ${message.plan}${time}`;
    this.list.replaceChildren(...hits.map((hit, index) => this.row(hit, String(index + 1))));
    if (hits[0]) this.open(hits[0]);
    else this.entry.replaceChildren();
  }

  showProblem({ text, serial }) {
    if ((serial ?? Infinity) < this.serial) return;
    this.map.hits = [];
    this.map.ring = null;
    this.map.draw();
    this.say(text);
  }

  say(text) {
    this.list.replaceChildren();
    this.entry.replaceChildren();
    this.listTitle.textContent = text;
  }

  row({ id, place, title, text, spans, score, share }, number = "") {
    const row = button("", title, () => this.open({ id, place }), "conduit-explorer-row");
    const head = part("div", "row-head");
    if (number) head.append(element("span", "conduit-quiet", number));
    head.append(element("b", "", title));
    if (score) {
      const bar = part("span", "score", score);
      bar.style.setProperty("--share", `${100 * Math.min(1, Math.max(0, share))}%`);
      head.append(bar);
    }
    const body = part("div", "snippet");
    body.append(...marked(text, spans));
    row.append(head, body);
    const point = () => {
      this.map.hovered = place;
      this.map.paintOnly();
    };
    row.addEventListener("mouseenter", point);
    row.addEventListener("focus", point);
    return listed(row);
  }

  open({ id, place }) {
    this.map.chosen = place ?? -1;
    this.map.paintOnly();
    this.send(id === undefined ? { do: "open", place } : { do: "open", id });
  }

  showEntry({ title, facts, parts }) {
    const head = part("div", "entry-head");
    head.append(element("b", "", title));
    const chunks = parts.map(({ id, text, cut, own }) => {
      const body = text + (cut ? ` (${cut} more characters: store[${JSON.stringify(id)}].content)` : "");
      if (own) return element("div", "conduit-explorer-chunk conduit-explorer-own", body || "no text");
      return button(body, `Open ${id}`, () => this.open({ id }), "conduit-explorer-chunk conduit-explorer-near");
    });
    this.entry.replaceChildren(head, ...chunks, element("div", "conduit-quiet", facts.join(" · ")));
    const own = this.entry.querySelector(".conduit-explorer-own");
    if (own) this.entry.scrollTop = own.offsetTop - this.entry.offsetTop - 48;
  }

  hover(place, x, y) {
    clearTimeout(this.hovering);
    this.peek.hidden = true;
    if (place < 0) return;
    this.peekAt = [x, y];
    this.hovering = setTimeout(() => this.send({ do: "peek", place }), HOVER_MS);
  }

  showPeek({ place, title, value }) {
    if (place !== this.map.hovered || !this.peekAt) return;
    const [x, y] = this.peekAt;
    this.peek.replaceChildren(element("b", "", title));
    if (value) this.peek.append(element("div", "conduit-quiet", value));
    this.peek.hidden = false;
    this.peek.style.left = `${Math.min(x + 12, this.map.width - 220)}px`;
    this.peek.style.top = `${y + 16 > this.map.height - 60 ? y - 60 : y + 16}px`;
  }

  toggleLasso() {
    this.map.lassoing = !this.map.lassoing;
    this.lassoButton.setAttribute("aria-pressed", String(this.map.lassoing));
    this.map.overlay.style.cursor = this.map.lassoing ? "crosshair" : "";
  }

  select(places) {
    this.map.select(places.length > 0 ? places : null);
    this.selecting += 1;
    this.send({ do: "select", places: encode(places), serial: this.selecting });
  }

  showSelection({ serial, count, rows }) {
    if (serial !== this.selecting) return;
    if (count === 0) {
      this.say("Nothing is selected.");
      return;
    }
    const more = count > rows.length ? ` · the first ${rows.length} are listed` : "";
    this.listTitle.replaceChildren(`${counted(count, "entry", "entries")} selected: `, element("code", "", "explorer.selection"), more);
    this.list.replaceChildren(...rows.map((row) => this.row(row)));
    this.entry.replaceChildren();
  }

  clear() {
    const had = this.map.picked !== null || this.map.lasso !== null;
    this.map.lasso = null;
    this.map.marks = [];
    if (had) {
      this.select(new Uint32Array(0));
      if (this.box.value.trim()) this.search();
    } else if (document.activeElement === this.box) {
      this.box.value = "";
      this.search();
    }
    this.map.draw();
  }

  showMarks(message) {
    this.found = message;
    this.duplicates.textContent = counted(message.group_count, "group of near duplicates", "groups of near duplicates");
    this.outliers.textContent = counted(message.outliers.length, "outlier", "outliers");
    this.duplicates.hidden = message.group_count === 0;
    this.outliers.hidden = message.outliers.length === 0;
  }

  mark(kind) {
    const places = Uint32Array.from(this.found[kind].flat()).sort();
    this.map.marks = places.length <= 2_000 ? [...places] : [];
    this.map.lasso = null;
    this.select(places);
  }

  showQuestions({ questions, more_questions: more }) {
    this.listTitle.textContent = `${counted(questions.length + more, "question", "questions")} with the right page not first in every mode`;
    this.list.replaceChildren(
      ...questions.map(({ question, words, pages }, number) => {
        const row = button("", question, () => this.ask(number), "conduit-explorer-row");
        row.append(element("div", "", question), element("div", "conduit-quiet", `${words} · ${pages}`));
        return listed(row);
      }),
    );
  }

  ask(number) {
    this.serial += 1;
    this.box.value = this.info.questions[number].question;
    this.send({ do: "question", number, serial: this.serial });
  }

  showRanks({ question, words, places }) {
    if (this.box.value !== question) return;
    this.map.marks = places;
    this.map.draw();
    const back = button("All questions", "Back to the list of questions", () => this.showQuestions(this.info));
    this.listTitle.append(element("div", "", `right page: ${words} (squares on the map) `), back);
  }
}

export default ExplorerView;
