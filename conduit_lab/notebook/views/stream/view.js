// The page side of a live stream; the protocol is described in stream.py.
// What a stream gives reaches the page through text nodes and one image's data URL only, never as HTML.

const KEPT_CHARACTERS = 50_000; // in the page, laid out anew each frame; the output that stays shows 20,000
const ASK_AGAIN_MS = 1_000;

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function layout(name) {
  const parts = {
    root: element("div", "conduit-stream"),
    header: element("div", "conduit-stream-header"),
    title: element("div", "conduit-stream-title"),
    mark: element("span", "conduit-stream-mark"),
    facts: element("span", "conduit-stream-quiet"),
    stop: element("button", "conduit-stream-stop", "Stop"),
    box: element("div", "conduit-stream-box"),
    dropped: element("div", "conduit-stream-quiet"),
    text: element("div", "conduit-stream-text"),
    picture: element("img", "conduit-stream-picture"),
    spoken: element("div", "conduit-stream-spoken"),
  };
  parts.root.setAttribute("role", "group");
  parts.root.setAttribute("aria-label", `Stream ${name}`);
  parts.mark.setAttribute("aria-hidden", "true");
  parts.stop.type = "button";
  parts.stop.title = "Stop this stream (Esc)";
  parts.box.tabIndex = 0; // so that the keyboard can scroll it
  parts.box.setAttribute("role", "region");
  parts.box.setAttribute("aria-label", `Text of ${name}`);
  parts.picture.alt = "the newest image";
  parts.spoken.setAttribute("aria-live", "polite");
  parts.title.append(
    element("span", "conduit-stream-quiet", "Stream "),
    element("b", "", name),
    element("span", "conduit-stream-quiet", " · "),
    parts.mark,
    parts.facts,
  );
  parts.header.append(parts.title, parts.stop);
  parts.box.append(parts.dropped, parts.text);
  parts.root.append(parts.header, parts.box, parts.spoken);
  return parts;
}

// Speaks whole sentences: a screen reader that follows tokens cannot be listened to.
class Speaker {
  constructor(region) {
    this.region = region;
    this.pending = "";
  }

  hear(text) {
    this.pending += text;
    const sentences = this.pending.match(/^[\s\S]*(?:[.!?…]\s|\n)/);
    if (sentences === null) return;
    this.region.textContent = sentences[0].trim();
    this.pending = this.pending.slice(sentences[0].length);
  }
}

class StreamPage {
  constructor(parts, send) {
    this.parts = parts;
    this.send = send;
    this.speaker = new Speaker(parts.spoken);
    this.seq = -1;
    this.dropped = -1;
    this.length = 0; // characters known of the text that begins at chunk `dropped`
    this.unpainted = "";
    this.shown = 0; // UTF-16 units in the page
    this.asked = -Infinity;
    parts.stop.addEventListener("click", () => this.stop());
    parts.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.stop();
    });
    this.send({ open: true }); // what was sent before this page listened is lost: it will be sent again
  }

  stop() {
    this.parts.stop.disabled = true;
    this.parts.stop.textContent = "Stopping";
    this.send({ stop: true });
  }

  askForReplay() {
    if (performance.now() - this.asked < ASK_AGAIN_MS) return;
    this.asked = performance.now();
    this.send({ replay: true });
  }

  receive(message) {
    if (message.seq <= this.seq) return;
    this.seq = message.seq;
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

  showFacts([state, ...rest]) {
    const [mark, word] = state.split(" ");
    this.parts.root.dataset.state = word;
    if (word !== "pending" && word !== "running") this.parts.stop.style.visibility = "hidden";
    this.parts.mark.textContent = mark;
    this.parts.facts.textContent = ` ${[word, ...rest].join(" · ")}`;
  }

  showImage(url) {
    if (!url.startsWith("data:image/")) return;
    this.parts.picture.src = url;
    this.parts.box.after(this.parts.picture); // a stream without images has none
  }

  restart(dropped) {
    this.dropped = dropped;
    this.length = 0;
    this.unpainted = "";
    this.shown = 0;
    this.parts.text.replaceChildren();
    this.parts.dropped.textContent = dropped > 0 ? `The first ${dropped} chunks are no longer kept.` : "";
  }

  append(characters) {
    if (characters.length === 0) return;
    this.length += characters.length;
    if (this.unpainted === "") requestAnimationFrame(() => this.paint()); // one layout a frame, however many messages
    this.unpainted += characters.join("");
  }

  paint() {
    const { box, text } = this.parts;
    const added = this.unpainted;
    this.unpainted = "";
    if (added === "") return;
    const followed = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    text.append(added);
    this.shown += added.length;
    while (this.shown > KEPT_CHARACTERS && text.firstChild !== text.lastChild) {
      this.shown -= text.firstChild.length;
      text.firstChild.remove();
    }
    if (followed) box.scrollTop = box.scrollHeight; // a reader who scrolled up stays there
    this.speaker.hear(added);
  }
}

function render({ model, el }) {
  const parts = layout(model.get("name"));
  el.append(parts.root);
  const page = new StreamPage(parts, (content) => model.send(content));
  const receive = (content) => page.receive(content);
  model.on("msg:custom", receive);
  return () => model.off("msg:custom", receive);
}

export default { render };
