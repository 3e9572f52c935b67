import { BODY, Columns, Painter, QUIET_NOTE, drawLine, picture, staticHtml, styled } from "./line.js";

// A stream of rows as a table that grows at its end: growing_table.py, live.

const ROWS = 20;
const HEAD_LINE_HEIGHT = 20;
const RULE = "1px solid rgba(128,128,128,.35)";
const CELL = "padding:4px 16px 4px 0;vertical-align:bottom;white-space:nowrap";

export class RecordsPart {
  constructor() {
    this.rows = [];
    this.lines = new Map();
    this.head = styled("tr", "background:none");
    this.body = styled("tbody", "");
    this.note = styled("div", QUIET_NOTE);
    this.table = styled("table", `${BODY};border-collapse:collapse;margin:4px 0`, styled("thead", "", this.head), this.body);
    this.root = styled("div", "", styled("div", "overflow-x:auto", this.table));
    this.painter = new Painter(() => this.paint());
    this.layout = "";
  }

  receive({ columns, rows, note }, whole) {
    if (whole) this.rows = [];
    if (whole) this.fresh = 0;
    this.rows = [...this.rows, ...rows].slice(-ROWS);
    this.fresh = Math.min((this.fresh ?? 0) + rows.length, ROWS); // rows not yet painted
    for (const { name, line } of columns) {
      if (line === undefined) continue;
      if (!this.lines.has(name)) this.lines.set(name, new Columns());
      this.lines.get(name).apply(line);
    }
    this.columns = [{ name: "row", right: true, room: 1.8 }, ...columns];
    this.text = note;
    this.painter.ask();
  }

  paint() {
    const layout = JSON.stringify(this.columns.map(({ name, right, line }) => [name, right, line !== undefined]));
    if (layout !== this.layout) {
      this.layout = layout;
      this.fresh = this.rows.length;
      this.body.replaceChildren();
      this.head.replaceChildren(...this.columns.map((column) => this.headOf(column)));
    }
    this.columns.forEach(({ name, room, line }, place) => {
      const cell = this.head.children[place];
      cell.style.minWidth = `${room.toFixed(1)}em`;
      if (line === undefined) return;
      const svg = cell.querySelector("svg");
      svg.style.width = `${Math.max(room, 5).toFixed(1)}em`;
      drawLine(svg, this.lines.get(name), HEAD_LINE_HEIGHT, 1.5);
    });
    this.body.append(...this.rows.slice(this.rows.length - this.fresh).map((row) => this.rowOf(row)));
    while (this.body.children.length > ROWS) this.body.firstChild.remove();
    this.fresh = 0;
    this.note.textContent = this.text;
    if (this.text && !this.note.isConnected) this.root.append(this.note);
  }

  headOf({ name, right, line }) {
    const cell = styled("th", `text-align:${right ? "right" : "left"};font-weight:400;${CELL}`);
    cell.scope = "col";
    if (line !== undefined) cell.append(picture(HEAD_LINE_HEIGHT, `height:${HEAD_LINE_HEIGHT}px;display:block;margin-left:auto`));
    cell.append(styled("span", "opacity:.7", name));
    return cell;
  }

  rowOf([number, cells]) {
    const side = (place) => `text-align:${this.columns[place].right ? "right" : "left"};${CELL}`;
    return styled("tr", `background:none;border-top:${RULE}`,
      styled("td", `${side(0)};opacity:.7`, number),
      ...this.columns.slice(1).map((_, place) => styled("td", side(place + 1), cells[place] ?? "")));
  }

  snapshot() {
    return staticHtml(this.root);
  }
}
