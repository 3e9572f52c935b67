import { BODY, Columns, Painter, QUIET, QUIET_NOTE, drawLine, picture, staticHtml, styled } from "./line.js";

// A stream of numbers as a line, with the newest number at its end: line_picture.py, live.

const LINE_HEIGHT = 120;

export class NumbersPart {
  constructor() {
    this.columns = new Columns();
    this.svg = picture(LINE_HEIGHT, `width:100%;height:${LINE_HEIGHT}px;display:block`);
    this.sides = styled("div", "");
    this.last = styled("b", "");
    this.place = styled("div", "", this.last);
    this.start = styled("span", "");
    this.end = styled("span", "");
    this.line = styled("div", `${BODY};max-width:720px;margin:4px 0`,
      styled("div", `display:flex;column-gap:8px;height:${LINE_HEIGHT}px`,
        this.sides, styled("div", "flex:1 1 0;min-width:0", this.svg), styled("div", "min-width:88px", this.place)),
      styled("div", `${QUIET};display:flex;justify-content:space-between;padding:0 96px 0 64px`, this.start, this.end),
    );
    this.note = styled("div", QUIET_NOTE);
    this.root = styled("div", "", this.note);
    this.painter = new Painter(() => this.paint());
  }

  receive(part) {
    this.columns.apply(part.line);
    this.part = part;
    this.painter.ask();
  }

  paint() {
    const { note, sides, ends, last, place } = this.part;
    this.note.textContent = note;
    if (last === undefined) return; // no number is finite
    const shown = sides[0] === sides[1] ? [sides[1]] : [sides[1], sides[0]];
    this.sides.style.cssText =
      `${QUIET};display:flex;flex-direction:column;justify-content:${shown.length === 1 ? "center" : "space-between"};text-align:right;min-width:56px`;
    this.sides.replaceChildren(...shown.map((text) => styled("span", "", text)));
    this.place.style.cssText = `padding-top:${place}px;font-size:20px;line-height:24px;white-space:nowrap`;
    this.last.textContent = last;
    [this.start.textContent, this.end.textContent] = ends;
    drawLine(this.svg, this.columns, LINE_HEIGHT, 2);
    if (!this.line.isConnected) this.root.prepend(this.line);
  }

  snapshot() {
    return staticHtml(this.root);
  }
}
