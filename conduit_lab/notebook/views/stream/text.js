import { Box, Speaker, element, staticText } from "../shared.js";

// A stream's text, as it comes, in a box that follows its end; below it the newest image.

const KEPT_CHARACTERS = 20_000; // in the page, laid out again each frame; the output that stays shows as many

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
    this.length = 0; // characters known of the text that begins at chunk `dropped`
    this.unpainted = "";
    this.shown = 0; // UTF-16 units in the page
    this.hidden = 0; // UTF-16 units that were shown before
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

  // Returns whether text before this message is missing.
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
    if (this.unpainted === "") requestAnimationFrame(() => this.paint()); // one layout a frame, however many messages
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
