import { element } from "../shared.js";

// The tree of texts: a thin line per text, from the token where it branched off to its end.

const ROW = 20; // pixels, as in view.css
const FIRST_SPAN = 64; // tokens across the full width, doubled as texts grow

export class BranchRail {
  constructor(onPick) {
    this.onPick = onPick;
    this.root = element("div", "conduit-generation-rail");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Branches");
    this.rows = new Map();
  }

  // `streams` are in tree order, each after its parent; `shown` are those with a column.
  paint(streams, shown) {
    this.root.hidden = streams.length < 2;
    const longest = Math.max(1, ...streams.map((stream) => stream.length));
    const running = streams.some((stream) => stream.running);
    const span = running ? Math.max(FIRST_SPAN, 2 ** Math.ceil(Math.log2(longest))) : longest;
    const places = new Map(streams.map((stream, place) => [stream, place]));
    for (const [place, stream] of streams.entries()) {
      const row = this.row(stream);
      const left = (100 * stream.position) / span;
      row.line.style.left = `${left}%`;
      row.line.style.width = `${(100 * (stream.length - stream.position)) / span}%`;
      row.stem.style.left = `${left}%`;
      row.stem.style.height = `${stream.parent ? (place - places.get(stream.parent)) * ROW : 0}px`;
      row.root.setAttribute("aria-pressed", String(shown.includes(stream)));
      row.mark.textContent = stream.facts[0][0];
      row.mark.dataset.state = stream.facts[0].slice(2);
      if (this.root.children[place] !== row.root) this.root.insertBefore(row.root, this.root.children[place] ?? null);
    }
  }

  row(stream) {
    if (this.rows.has(stream)) return this.rows.get(stream);
    const root = element("button", "conduit-generation-branch");
    root.type = "button";
    root.title = `Show text ${stream.number + 1}`;
    const label = element("span", "conduit-generation-name", `${stream.number + 1} ${stream.label}`);
    const mark = element("span", "conduit-mark");
    mark.setAttribute("aria-hidden", "true");
    const track = element("span", "conduit-generation-track");
    const line = element("span", "conduit-generation-line");
    const stem = element("span", "conduit-generation-stem");
    track.append(stem, line);
    root.append(mark, label, track);
    root.addEventListener("click", () => this.onPick(stream));
    this.rows.set(stream, { root, line, stem, mark });
    return this.rows.get(stream);
  }
}

// Tokens per second over time as a sparkline; decorative, as the header has the figures.
export class RateLine {
  constructor() {
    const space = "http://www.w3.org/2000/svg";
    this.root = document.createElementNS(space, "svg");
    this.root.setAttribute("class", "conduit-generation-rate");
    this.root.setAttribute("viewBox", "0 0 72 16");
    this.root.setAttribute("aria-hidden", "true");
    this.line = document.createElementNS(space, "polyline");
    this.root.append(this.line);
  }

  show(rates) {
    const highest = Math.max(1e-9, ...rates);
    const step = 72 / Math.max(1, rates.length - 1);
    this.line.setAttribute("points", rates.map((rate, place) => `${(place * step).toFixed(1)},${(15 - (14 * rate) / highest).toFixed(1)}`).join(" "));
  }
}
