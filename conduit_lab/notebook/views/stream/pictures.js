import { BODY, QUIET, QUIET_NOTE, USUAL_NOTE, staticHtml, styled } from "./line.js";

// A stream of images: the newest one first, its facts folded, and a strip of frames: film.py, live.

export class PicturesPart {
  constructor() {
    this.image = styled("img", "");
    this.image.className = "conduit-stream-picture";
    this.reason = styled("div", QUIET_NOTE);
    this.shown = styled("div", "margin:4px 0", this.image);
    this.title = styled("summary", "opacity:.7;cursor:pointer");
    this.facts = styled("details", `${BODY};margin:4px 0`, this.title);
    this.lone = styled("div", QUIET_NOTE);
    this.strip = styled("div", `${BODY};max-width:720px;display:flex;flex-wrap:wrap;gap:8px;margin:4px 0`);
    this.note = styled("div", QUIET_NOTE);
    this.urls = new Map();
    this.frames = new Map();
    this.root = styled("div", "");
  }

  receive({ picture, size, facts, reason, frames, added, note }) {
    const [title, ...others] = facts;
    this.show(picture, size, title);
    this.reason.textContent = reason;
    this.title.textContent = this.lone.textContent = title;
    this.facts.replaceChildren(this.title, ...others.map((fact) => styled("div", USUAL_NOTE, fact)));
    this.note.textContent = note;
    this.showFrames(frames, added);
    const parts = [picture ? this.shown : this.reason, others.length ? this.facts : this.lone];
    if (frames.length > 1) parts.push(this.strip);
    if (note) parts.push(this.note);
    if (parts.some((part, place) => this.root.children[place] !== part)) this.root.replaceChildren(...parts);
  }

  show(url, [width, height], title) {
    if (!url.startsWith("data:image/")) return;
    if (width) {
      this.image.width = width;
      this.image.height = height;
    }
    const fit = width ? "max-width:100%;max-height:480px;width:auto;height:auto" : "max-width:100%;max-height:480px";
    this.image.style.cssText = `${fit};display:block`;
    this.image.alt = title;
    this.image.src = url;
  }

  showFrames(frames, added) {
    for (const [number, url] of Object.entries(added)) {
      if (url.startsWith("data:image/")) this.urls.set(Number(number), url);
    }
    const numbers = new Set(frames.map(([number]) => number));
    for (const number of [...this.urls.keys()]) if (!numbers.has(number)) this.urls.delete(number);
    for (const [number, frame] of this.frames) {
      if (numbers.has(number)) continue;
      frame.remove();
      this.frames.delete(number);
    }
    for (const [number, caption] of frames) {
      if (this.frames.has(number) || !this.urls.has(number)) continue;
      const image = styled("img", "height:56px;max-width:100%;display:block");
      image.alt = "";
      image.src = this.urls.get(number);
      this.frames.set(number, styled("div", "", image, styled("div", QUIET, caption)));
      this.strip.append(this.frames.get(number));
    }
  }

  snapshot() {
    return staticHtml(this.root);
  }
}
