import { Header, button, element, staticHeader } from "../shared.js";
import { QUIET_NOTE, styled } from "./line.js";
import { NumbersPart } from "./numbers.js";
import { PicturesPart } from "./pictures.js";
import { RecordsPart } from "./records.js";
import { SoundsPart } from "./sounds.js";
import { TextPart } from "./text.js";

// The page side of a live stream; view.py describes the protocol. There is a part per kind of chunk,
// created on the first message of its kind.

const ASK_AGAIN_MS = 1_000;
const PARTS = { text: TextPart, numbers: NumbersPart, records: RecordsPart, pictures: PicturesPart, sounds: SoundsPart };

class StreamView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-stream");
    this.root.setAttribute("role", "group");
    this.stopButton = button("Stop", "Stop this stream (Esc)", () => this.stop(), "conduit-stop");
    this.notes = element("div");
    this.named("");
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.stop();
    });
    this.seq = -1;
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
    this.part?.placed?.();
  }

  scrolled() {
    return this.part?.scrolled?.();
  }

  ending(host) {
    this.part?.ending?.(host);
  }

  close() {
    this.part?.close?.();
  }

  snapshot(state) {
    return staticHeader("Stream", this.header.name, [state, ...this.header.facts.slice(1)]) + this.notes.innerHTML + (this.part?.snapshot() ?? "");
  }

  askForReplay() {
    if (performance.now() - this.asked < ASK_AGAIN_MS) return;
    this.asked = performance.now();
    this.send({ replay: true });
  }

  receive(message) {
    if (message.seq <= this.seq) return;
    const gap = message.seq !== this.seq + 1;
    this.seq = message.seq;
    if (message.name !== undefined && message.name !== this.header.name) this.named(message.name);
    if (message.facts) this.showFacts(message.facts);
    if (message.notes) this.showNotes(message.notes);
    if (message.part) this.receivePart(message, gap);
    else if (message.shape && gap) this.askForReplay();
    else if (message.text || message.image) {
      if (this.partOf("text").receive(message)) this.askForReplay();
    }
  }

  receivePart({ shape, whole, part }, gap) {
    if (PARTS[shape] === undefined) return;
    if (gap && !whole) {
      this.askForReplay();
      return;
    }
    this.partOf(shape).receive(part, whole);
  }

  // The part for this kind, replacing a part of another kind.
  partOf(kind) {
    if (this.kind === kind) return this.part;
    this.part?.close?.();
    this.part?.root.remove();
    this.kind = kind;
    this.part = new PARTS[kind]();
    this.root.append(this.part.root);
    return this.part;
  }

  // Sentences about omitted chunks and text, above the part as in the static form.
  showNotes(notes) {
    this.notes.replaceChildren(...notes.map((note) => styled("div", QUIET_NOTE, note)));
    if (!this.notes.isConnected) this.header.root.after(this.notes);
  }

  showFacts(facts) {
    this.header.show(facts);
    if (this.header.ended) this.stopButton.style.visibility = "hidden";
  }
}

export default StreamView;
