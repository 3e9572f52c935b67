import { Box, Speaker, element, staticText } from "../shared.js";

// A stream's text as it arrives, in a box that follows its end, and the newest image below.

const KEPT_CHARACTERS = 20_000; // in the page, laid out in each frame; the final output shows as many

export class TextPart {
  constructor() {
    this.box = new Box("Text of the stream");
    this.missing = element("div", "conduit-quiet");
    this.text = element("div", "conduit-code conduit-stream-text");
    this.picture = element("img", "conduit-stream-picture");
    this.picture.alt = "the newest image";
    this.speaker = new Speaker();
    this.box.root.append(this.missing, this.text);
    this.root = element("div");
    this.root.append(this.box.root, this.speaker.root);
    this.dropped = -1;
    this.length = 0; // known characters of the text that starts at chunk `dropped`
    this.unpainted = "";
    this.shown = 0; // UTF-16 units in the page
    this.hidden = 0; // UTF-16 units shown earlier and removed
  }

  placed() {
    this.box.placed();
  }

  scrolled() {
    return this.box.top;
  }

  snapshot() {
    const note = this.missing.textContent;
    return staticText(`${note && `${note}\n`}${this.text.textContent}${this.unpainted}`);
  }

  // Return whether text before this message is missing.
  receive({ dropped, offset, text, image }) {
    if (image) this.showImage(image);
    const known = dropped === this.dropped ? this.length : 0;
    if (offset > known) return true;
    if (dropped !== this.dropped) this.restart(dropped);
    this.append(Array.from(text).slice(this.length - offset)); // by code points, as Python counts
    return false;
  }

  showImage(url) {
    if (!url.startsWith("data:image/")) return;
    this.picture.src = url;
    this.box.root.after(this.picture); // a stream without images has none
  }

  restart(dropped) {
    this.dropped = dropped;
    this.length = 0;
    this.unpainted = "";
    this.shown = 0;
    this.hidden = 0;
    this.text.replaceChildren();
    this.noteMissing();
  }

  noteMissing() {
    this.missing.textContent = this.hidden > 0 ? hiddenNote(this.hidden) : "";
  }

  append(characters) {
    if (characters.length === 0) return;
    this.length += characters.length;
    if (this.unpainted === "") requestAnimationFrame(() => this.paint()); // at most one layout per frame
    this.unpainted += characters.join("");
  }

  paint() {
    const { text } = this;
    const added = this.unpainted;
    this.unpainted = "";
    if (added === "") return;
    this.box.grow(() => {
      text.append(added);
      this.shown += added.length;
      while (this.shown > KEPT_CHARACTERS && text.firstChild !== text.lastChild) {
        this.shown -= text.firstChild.length;
        this.hidden += text.firstChild.length;
        text.firstChild.remove();
        this.noteMissing();
      }
    });
    this.speaker.hear(added);
  }
}

function hiddenNote(characters) {
  return `${characters} characters before this are not shown: stream.text`;
}
