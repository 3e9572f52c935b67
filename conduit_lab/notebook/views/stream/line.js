import { element } from "../shared.js";

// Elements with the same styles as the static forms (conduit_lab/core/views/*.py), so that nothing
// moves when those take over, and images of lines and waveforms.

export const BODY = "font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:20px;font-variant-numeric:tabular-nums";
export const QUIET = "font-size:12px;line-height:16px;opacity:.7;white-space:nowrap";
const NOTE = `${BODY};max-width:720px;overflow-wrap:break-word`;
export const QUIET_NOTE = `${NOTE};font-size:12px;line-height:16px;opacity:.7;margin:2px 0`;
export const USUAL_NOTE = `${NOTE};margin:2px 0`;
const COLOR = "#1B86C8";
const WIDTH = 600; // units across an image, which is stretched to the available width
const MARGIN = 4;

// An element with an inline style, and its children or its text.
export function styled(tag, style, ...children) {
  const node = element(tag);
  node.style.cssText = style;
  node.append(...children);
  return node;
}

export function picture(height, style) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.style.cssText = style;
  return svg;
}

// The live element as static HTML: drawings become images, which every host keeps.
export function staticHtml(root) {
  const copy = root.cloneNode(true);
  for (const svg of copy.querySelectorAll("svg")) {
    const style = svg.getAttribute("style");
    svg.removeAttribute("style");
    const source = new XMLSerializer().serializeToString(svg);
    const image = styled("img", style);
    image.alt = "";
    image.src = `data:image/svg+xml;base64,${btoa(source)}`;
    svg.replaceWith(image);
  }
  return copy.outerHTML;
}

// The columns of an envelope, updated by messages with the columns from `at` on.
export class Columns {
  constructor() {
    this.mean = [];
    this.low = [];
    this.high = [];
    this.bounds = [0, 0];
  }

  apply({ at, mean, low = mean, high = mean, bounds }) {
    for (const [name, values] of Object.entries({ mean, low, high })) this[name].splice(at, Infinity, ...values);
    this.bounds = bounds;
  }
}

// The line through the means and the band around it, like line_url in line_picture.py.
export function drawLine(svg, columns, height, stroke) {
  const [low, high] = columns.bounds;
  const extent = high / 2 - low / 2;
  const share = (value) => (extent > 0 ? (value / 2 - low / 2) / extent : 0.5);
  const down = (value) => (height - MARGIN - share(value) * (height - 2 * MARGIN)).toFixed(1);
  const count = columns.mean.length;
  const across = (place) => (count === 1 ? WIDTH / 2 : 2 + ((WIDTH - 4) * place) / (count - 1)).toFixed(1);
  const lines = [];
  const bands = [];
  const dots = [];
  for (const run of runs(columns.mean)) {
    const points = (values) => run.map((place) => `${across(place)} ${down(values[place])}`);
    const line = points(columns.mean);
    if (run.length === 1) dots.push(`M${line[0]}L${line[0]}`);
    else lines.push(`M${line.join("L")}`);
    if (run.length > 1 && run.some((place) => columns.low[place] < columns.high[place])) {
      bands.push(`M${[...points(columns.high), ...points(columns.low).reverse()].join("L")}Z`);
    }
  }
  svg.replaceChildren();
  if (low < 0 && high > 0) path(svg, `M0 ${down(0)}H${WIDTH}`, { stroke: "#808080", "stroke-width": 1 });
  if (bands.length) path(svg, bands.join(""), { fill: COLOR, "fill-opacity": 0.3 });
  const drawn = { fill: "none", stroke: COLOR, "stroke-linecap": "round", "stroke-linejoin": "round", "vector-effect": "non-scaling-stroke" };
  if (lines.length) path(svg, lines.join(""), { ...drawn, "stroke-width": stroke });
  if (dots.length) path(svg, dots.join(""), { ...drawn, "stroke-width": 3 * stroke });
}

// A stroke per column, like wave_url in wave_picture.py.
export function drawWave(svg, columns, height) {
  const count = columns.low.length;
  const half = height / 2;
  const strokes = [];
  columns.low.forEach((low, place) => {
    if (low === null) return;
    const top = half - (half - 1) * columns.high[place];
    strokes.push(`M${((WIDTH * (place + 0.5)) / count).toFixed(1)} ${top.toFixed(1)}V${(half - (half - 1) * low + 0.5).toFixed(1)}`);
  });
  svg.replaceChildren();
  path(svg, strokes.join(""), { stroke: COLOR, "stroke-width": Math.min(8, Math.max(1, (0.7 * WIDTH) / count)).toFixed(1) });
}

function path(svg, data, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ d: data, ...attributes })) node.setAttribute(name, value);
  svg.append(node);
}

// The indexes of each run of numbers; null marks a gap.
function runs(values) {
  const found = [[]];
  values.forEach((value, place) => {
    if (value !== null) found.at(-1).push(place);
    else if (found.at(-1).length) found.push([]);
  });
  return found.filter((run) => run.length);
}

// Call `paint` at most once per frame.
export class Painter {
  constructor(paint) {
    this.paint = paint;
    this.pending = false;
  }

  ask() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }
}
