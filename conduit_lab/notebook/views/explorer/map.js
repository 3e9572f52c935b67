// Points in a pixel buffer, below a canvas with labels, query, marks and lasso. Places are fractions
// of the map's extent, 0 to 1, y upwards; `frame` is the visible part.

const MAX_STRETCH = 1.6; // of one axis
const SHOWN = 0.88; // fraction of the frame inside its margins
const COVERS = 48; // steps; a point adds up to 8
const DIM = 64; // the palette's row for hidden points
const MISSING = 63;
const NEAR = 9; // pixels
const MAX_ZOOM = 400;

export function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Type(bytes.buffer);
}

export class PointMap {
  constructor(on) {
    this.on = on;
    this.root = document.createElement("div");
    this.root.className = "conduit-explorer-map";
    this.points = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.overlay.tabIndex = 0;
    this.overlay.setAttribute("role", "application");
    this.root.append(this.points, this.overlay);
    Object.assign(this, { count: 0, xy: [], codes: [], categories: [], hits: [], ring: null, lasso: null, lassoing: false });
    Object.assign(this, { home: [[0, 0], [1, 1]], size: [1, 1], chosen: -1, hovered: -1, scheduled: false });
    this.hidden = null; // 1 for each point that a filter hides
    this.picked = null; // 1 for each selected point
    this.marks = []; // places with a square
    this.fit();
    this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.root);
  }

  load({ count, xy, home, size }) {
    this.count = count;
    this.xy = decode(xy, Uint16Array);
    this.codes = new Uint8Array(count).fill(255);
    this.home = home;
    this.size = size;
    this.fit();
  }

  color(codes, categories, restColor) {
    this.codes = codes;
    this.categories = categories;
    const opacity = this.count <= 6_000 ? 0.85 : this.count <= 30_000 ? 0.7 : 0.6; // as in the static picture
    this.palette = palette(categories.map(({ color }) => color), restColor, opacity);
    this.draw();
  }

  fit() {
    const [low, high] = this.home;
    const ratio = this.width / this.height || 1.5;
    const [sx, sy] = this.size; // lengths of the unit sides
    const wide = Math.max((high[0] - low[0]) * sx, ((high[1] - low[1]) * sy * ratio) / MAX_STRETCH);
    const w = (wide / sx || 1) / SHOWN;
    const h = (Math.max((high[1] - low[1]) * sy, wide / ratio / MAX_STRETCH) / sy || 1) / SHOWN;
    this.frame = { x: (low[0] + high[0] - w) / 2, y: (low[1] + high[1] - h) / 2, w, h };
    this.fitted = { ...this.frame };
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.root;
    if (!clientWidth || !clientHeight) return;
    const fitted = !this.fitted || this.frame.w === this.fitted.w;
    this.scale = Math.min(2, window.devicePixelRatio || 1);
    this.width = clientWidth;
    this.height = clientHeight;
    for (const canvas of [this.points, this.overlay]) {
      canvas.width = Math.round(clientWidth * this.scale);
      canvas.height = Math.round(clientHeight * this.scale);
    }
    this.image = undefined;
    if (fitted) this.fit();
    else this.draw();
  }

  draw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      if (!this.width) return;
      this.paintPoints();
      this.paintOverlay();
    });
  }

  paintOnly() {
    requestAnimationFrame(() => this.width && this.paintOverlay());
  }

  radius() {
    const zoom = Math.sqrt((this.fitted?.w ?? 1) / this.frame.w);
    const base = this.count <= 600 ? 4 : this.count <= 6_000 ? 2.5 : this.count <= 30_000 ? 1.5 : 1;
    return Math.min(5, base * Math.min(3, zoom)) * this.scale;
  }

  paintPoints() {
    const { width, height } = this.points;
    const context = this.points.getContext("2d");
    if (!this.image || this.image.width !== width) {
      this.image = context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.cover = new Uint16Array(width * height);
      this.row = new Uint8Array(width * height);
    }
    const { pixels, cover, row, xy, codes, frame, hidden, picked } = this;
    cover.fill(0);
    const stamp = disc(this.radius());
    const edge = Math.ceil(this.radius() + 1);
    const kx = width / frame.w / 65_535;
    const ky = height / frame.h / 65_535;
    const ox = (-frame.x / frame.w) * width;
    const oy = height + (frame.y / frame.h) * height;
    const last = this.categories.length;
    const some = hidden !== null || picked !== null;
    for (let pass = some ? 0 : 1; pass < 2; pass += 1) {
      for (let i = 0; i < this.count; i += 1) {
        const dim = some && (hidden?.[i] === 1 || picked?.[i] === 0);
        if (dim === (pass === 1)) continue;
        const x = (ox + kx * xy[2 * i]) | 0;
        const y = (oy - ky * xy[2 * i + 1]) | 0;
        if (x < edge || y < edge || x >= width - edge || y >= height - edge) continue;
        const code = dim ? DIM : codes[i] < last ? codes[i] : MISSING;
        const at = y * width + x;
        for (let s = 0; s < stamp.length; s += 3) {
          const pixel = at + stamp[s] * width + stamp[s + 1];
          cover[pixel] += stamp[s + 2];
          row[pixel] = code;
        }
      }
    }
    const colors = this.palette ?? palette([], "#8a8a8a", 0.6);
    for (let i = 0; i < pixels.length; i += 1) {
      const covered = cover[i];
      pixels[i] = covered === 0 ? 0 : colors[row[i] * COVERS + (covered < COVERS ? covered : COVERS - 1)];
    }
    context.putImageData(this.image, 0, 0);
  }

  toPixels([x, y]) {
    return [((x - this.frame.x) / this.frame.w) * this.width, (1 - (y - this.frame.y) / this.frame.h) * this.height];
  }

  toPlace(px, py) {
    return [this.frame.x + (px / this.width) * this.frame.w, this.frame.y + (1 - py / this.height) * this.frame.h];
  }

  at(place) {
    return [this.xy[2 * place] / 65_535, this.xy[2 * place + 1] / 65_535];
  }

  paintOverlay() {
    const context = this.overlay.getContext("2d");
    const style = getComputedStyle(this.root);
    const ink = style.color;
    const ground = style.getPropertyValue("--jp-layout-color0").trim() || "Canvas";
    context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = `600 12px ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.lineJoin = "round";
    context.fillStyle = ink;
    const line = (width, color = ink, alpha = 1) => Object.assign(context, { lineWidth: width, strokeStyle: color, globalAlpha: alpha });
    const write = (text, x, y) => {
      line(4, ground, 0.85);
      context.strokeText(text, x, y);
      line(1);
      context.fillText(text, x, y);
    };
    const circle = ([x, y], radius, width) => {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      line(width + 2, ground);
      context.stroke();
      line(width);
      context.stroke();
    };
    line(1.5);
    for (const place of this.marks) {
      const [x, y] = this.toPixels(this.at(place));
      context.strokeRect(x - 6, y - 6, 12, 12);
    }
    if (this.ring) {
      const middle = this.toPixels(this.ring);
      line(1, ink, 0.5);
      context.beginPath();
      for (const { at } of this.hits) {
        context.moveTo(...middle);
        context.lineTo(...this.toPixels(at));
      }
      context.stroke();
      circle(middle, 7, 2.5);
    }
    this.labels(write, context);
    context.font = `600 11px ${style.fontFamily}`;
    this.hits.forEach(({ at }, index) => {
      const [x, y] = this.toPixels(at);
      write(String(index + 1), x, y - 10);
    });
    for (const place of [this.hovered, this.chosen]) {
      if (place >= 0 && place < this.count) circle(this.toPixels(this.at(place)), 6, 1.5);
    }
    if (this.lasso) {
      context.beginPath();
      this.lasso.forEach((at) => context.lineTo(...this.toPixels(at)));
      context.closePath();
      line(1.5);
      context.setLineDash([4, 3]);
      context.stroke();
      context.setLineDash([]);
      line(1, ink, 0.06);
      context.fill();
      line(1);
    }
  }

  // Moved up or down to avoid overlaps
  labels(write, context) {
    const placed = [];
    for (const { label, at, hidden } of this.categories) {
      if (hidden) continue;
      const half = context.measureText(label).width / 2;
      const [left, top] = this.toPixels(at);
      if (left < 0 || top < 0 || left > this.width || top > this.height) continue;
      const x = Math.min(Math.max(left, half + 4), this.width - half - 4);
      for (const move of [0, 1, -1, 2, -2, 3, -3, 4, -4]) {
        const y = Math.min(Math.max(top + 16 * move, 10), this.height - 10);
        if (placed.some((other) => Math.abs(other.y - y) < 15 && Math.abs(other.x - x) < other.half + half + 4)) continue;
        placed.push({ x, y, half });
        write(label, x, y);
        break;
      }
    }
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const at = this.toPlace(px, py);
    const w = Math.min(2 * this.fitted.w, Math.max(this.fitted.w / MAX_ZOOM, this.frame.w / factor));
    const h = (this.frame.h * w) / this.frame.w;
    this.frame = { x: at[0] - (px / this.width) * w, y: at[1] - (1 - py / this.height) * h, w, h };
    this.draw();
  }

  pan(dx, dy) {
    this.frame.x -= (dx / this.width) * this.frame.w;
    this.frame.y += (dy / this.height) * this.frame.h;
    this.draw();
  }

  nearest(px, py) {
    let best = -1;
    let off = NEAR * NEAR;
    const [cx, cy] = this.toPlace(px, py).map((part) => part * 65_535);
    const kx = this.width / this.frame.w / 65_535;
    const ky = this.height / this.frame.h / 65_535;
    for (let i = 0; i < this.count; i += 1) {
      const x = kx * (this.xy[2 * i] - cx);
      const y = ky * (this.xy[2 * i + 1] - cy);
      if (x * x + y * y < off && this.hidden?.[i] !== 1) {
        off = x * x + y * y;
        best = i;
      }
    }
    return best;
  }

  // Even-odd rule
  inside(polygon) {
    const found = [];
    const [xs, ys] = [0, 1].map((axis) => polygon.map((at) => at[axis] * 65_535));
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < this.count; i += 1) {
      const x = this.xy[2 * i];
      const y = this.xy[2 * i + 1];
      if (x < left || x > right || y < low || y > high || this.hidden?.[i] === 1) continue;
      let odd = false;
      for (let a = 0, b = xs.length - 1; a < xs.length; b = a, a += 1) {
        if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return Uint32Array.from(found);
  }

  select(places) {
    this.picked = null;
    if (places !== null) {
      this.picked = new Uint8Array(this.count);
      for (const place of places) this.picked[place] = 1;
    }
    this.draw();
  }

  listen() {
    const { overlay } = this;
    let from = null;
    let moved = false;
    const place = (event) => [event.offsetX, event.offsetY];
    overlay.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = place(event);
      moved = false;
      overlay.setPointerCapture(event.pointerId);
      if (this.lassoing || event.shiftKey) this.lasso = [this.toPlace(...from)];
    });
    overlay.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (from === null) {
        const found = this.nearest(x, y);
        if (found !== this.hovered) {
          this.hovered = found;
          this.paintOnly();
          this.on.onHover(found, x, y);
        }
        return;
      }
      if (!moved && Math.hypot(x - from[0], y - from[1]) < 3) return;
      moved = true;
      if (this.lasso) {
        this.lasso.push(this.toPlace(x, y));
        this.paintOnly();
      } else {
        this.pan(x - from[0], y - from[1]);
        from = [x, y];
      }
    });
    overlay.addEventListener("pointerup", (event) => {
      if (from === null) return;
      from = null;
      const found = moved ? -1 : this.nearest(...place(event));
      if (!moved) this.lasso = null;
      if (this.lasso && moved) this.on.onLasso(this.inside(this.lasso));
      if (found >= 0) this.on.onPick(found);
      this.paintOnly();
    });
    overlay.addEventListener("pointerleave", () => {
      this.hovered = -1;
      this.paintOnly();
      this.on.onHover(-1);
    });
    overlay.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== overlay) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), ...place(event));
    }, { passive: false });
    overlay.addEventListener("keydown", (event) => {
      const step = 40;
      const arrow = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
      if (event.ctrlKey || event.metaKey || !(arrow || factor || event.key === "0")) return;
      event.preventDefault();
      event.stopPropagation();
      if (arrow) this.pan(...arrow);
      else if (factor) this.zoom(factor);
      else this.fit();
    });
  }
}

// [dy, dx, cover 1 to 8] of each pixel
function disc(radius) {
  const reach = Math.ceil(radius);
  const parts = [];
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      const cover = Math.round(8 * Math.min(1, radius + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0) parts.push(dy, dx, cover);
    }
  }
  return Int16Array.from(parts);
}

// One pixel per category and cover, not premultiplied
function palette(colors, restColor, opacity) {
  const table = new Uint32Array((DIM + 1) * COVERS);
  const fill = (row, color, most) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    for (let cover = 1; cover < COVERS; cover += 1) {
      const alpha = Math.round(255 * most * (1 - (1 - opacity) ** (cover / 8)));
      table[row * COVERS + cover] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
  };
  colors.forEach((color, row) => fill(row, color, 1));
  fill(MISSING, restColor, 0.8);
  fill(DIM, "#8a8a8a", 0.25);
  return table;
}
