import { Box, Header, Speaker, button, element, staticHeader, staticText } from "../shared.js";

// The page side of a live stream; the protocol is described in view.py.

const KEPT_CHARACTERS = 50_000; // in the page, laid out again each frame; the output that stays shows 20,000
const STATIC_CHARACTERS = 20_000;
const ASK_AGAIN_MS = 1_000;

class StreamView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-stream");
    this.root.setAttribute("role", "group");
    this.stopButton = button("Stop", "Stop this stream (Esc)", () => this.stop(), "conduit-stop");
    this.box = new Box("Text of the stream");
    this.missing = element("div", "conduit-quiet");
    this.text = element("div", "conduit-code conduit-stream-text");
    this.picture = element("img", "conduit-stream-picture");
    this.picture.alt = "the newest image";
    this.speaker = new Speaker();
    this.box.root.append(this.missing, this.text);
    this.root.append(this.box.root, this.speaker.root);
    this.named("");
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.stop();
    });
    this.seq = -1;
    this.dropped = -1;
    this.length = 0; // characters known of the text that begins at chunk `dropped`
    this.unpainted = "";
    this.shown = 0; // UTF-16 units in the page
    this.hidden = 0; // UTF-16 units that were shown before
    this.asked = -Infinity;
  }

  named(name) {
    this.header?.root.remove();
    this.header = new Header("Stream", name, this.stopButton);
    this.root.setAttribute("aria-label", `Stream ${name}`);
    this.root.prepend(this.header.root);
  }

  stop() {
    this.stopButton.disabled = true;
    this.stopButton.textContent = "Stopping";
    this.send({ stop: true });
  }

  placed() {
    this.box.placed();
  }

  scrolled() {
    return this.box.top;
  }

  snapshot(state) {
    const text = this.text.textContent + this.unpainted;
    const cut = this.hidden + Math.max(0, text.length - STATIC_CHARACTERS);
    const notes = [this.missing.textContent, cut > this.hidden ? hiddenNote(cut) : ""].filter(Boolean).join("\n");
    const facts = [state, ...this.header.facts.slice(1)];
    return staticHeader("Stream", this.header.name, facts) + staticText(`${notes && `${notes}\n`}${text.slice(-STATIC_CHARACTERS)}`);
  }

  askForReplay() {
    if (performance.now() - this.asked < ASK_AGAIN_MS) return;
    this.asked = performance.now();
    this.send({ replay: true });
  }

  receive(message) {
    if (message.seq <= this.seq) return;
    this.seq = message.seq;
    if (message.name !== undefined && message.name !== this.header.name) this.named(message.name);
    if (message.facts) this.showFacts(message.facts);
    if (message.image) this.showImage(message.image);
    const known = message.dropped === this.dropped ? this.length : 0;
    if (message.offset > known) {
      this.askForReplay();
      return;
    }
    if (message.dropped !== this.dropped) this.restart(message.dropped);
    this.append(Array.from(message.text).slice(this.length - message.offset)); // by code points, as Python counts
  }

  showFacts(facts) {
    this.header.show(facts);
    if (this.header.ended) this.stopButton.style.visibility = "hidden";
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
    const notes = [];
    if (this.dropped > 0) {
      notes.push(this.dropped === 1 ? "The first chunk is no longer kept." : `The first ${this.dropped} chunks are no longer kept.`);
    }
    if (this.hidden > 0) notes.push(hiddenNote(this.hidden));
    this.missing.textContent = notes.join(" ");
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

export default StreamView;
