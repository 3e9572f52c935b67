import { Box, button, element } from "../shared.js";

// The page's copy of a stream in the tree, and the column that shows it.

export class TreeText {
  constructor({ number, parent, position, common, name, prompt }, streams) {
    Object.assign(this, { number, position, common, prompt });
    this.parent = parent === null ? undefined : streams.get(parent);
    this.label = this.parent ? name.slice(name.lastIndexOf(" › ") + 3) : "first text";
    this.name = name;
    this.texts = [];
    this.logprobs = [];
    this.facts = ["○ pending"];
    this.rates = [];
    this.error = "";
  }

  get length() {
    return this.position + this.texts.length;
  }

  get running() {
    return /pending|running/.test(this.facts[0]);
  }

  // The stream that owns the token at `index`: this one, or the one it branched from.
  owner(index) {
    return index < this.position && this.parent ? this.parent.owner(index) : this;
  }

  text(index) {
    const owner = this.owner(index);
    return owner.texts[index - owner.position] ?? "";
  }

  probability(index) {
    const owner = this.owner(index);
    return Math.exp(owner.logprobs[index - owner.position] ?? 0);
  }
}

export function probabilityText(value) {
  return value < 0.001 && value > 0 ? "< 0.001" : value.toFixed(value < 0.1 ? 3 : 2);
}

// A browser lays out a whole paragraph for each token: longer ones are split at a line end.
const PARAGRAPH_TOKENS = 400;

export class TextColumn {
  constructor(stream, { onOpen, onStop, onHide, inlinePrompt }) {
    this.stream = stream;
    this.onOpen = onOpen;
    this.root = element("div", "conduit-generation-column");
    this.head = element("div", "conduit-header conduit-generation-head");
    const title = element("div", "conduit-title");
    this.figures = element("span", "conduit-quiet");
    this.mark = element("span", "conduit-mark");
    this.mark.setAttribute("aria-hidden", "true");
    title.append(element("b", "conduit-generation-label", `${stream.number + 1} ${stream.label}`), " ", this.mark, this.figures);
    this.stopButton = button("Stop", "Stop this text", onStop, "conduit-stop");
    this.hideButton = button("×", "Hide this text; its row above shows it again", onHide);
    this.head.append(title, this.stopButton, this.hideButton);
    this.box = new Box(`Text ${stream.number + 1}: ${stream.label}`);
    this.box.root.classList.add("conduit-generation-box");
    this.body = element("div", "conduit-generation-text");
    this.problem = element("div", "conduit-generation-problem");
    this.prompt = element("span", "conduit-generation-prompt", inlinePrompt);
    this.paragraph = this.newParagraph();
    this.paragraph.append(this.prompt);
    this.box.root.append(this.body, this.problem);
    this.root.append(this.head, this.box.root);
    this.spans = []; // by index; undefined if a token has no text of its own
    this.caret = -1; // the token at the keyboard caret
    this.listen();
  }

  listen() {
    this.body.addEventListener("click", (event) => this.openAt(event.target));
    this.body.addEventListener("pointerover", ({ target }) => this.describe(target));
    this.box.root.addEventListener("keydown", (event) => {
      const inText = event.target === this.box.root || event.target.index !== undefined;
      if (!inText || event.ctrlKey || event.metaKey || event.altKey || !this.press(event.key, event.target)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  newParagraph() {
    const paragraph = element("div", "conduit-generation-paragraph");
    this.body.append(paragraph);
    return paragraph;
  }

  // Show the tokens that arrived since the last paint, and the figures.
  paint(alone) {
    const { stream } = this;
    this.head.hidden = alone;
    this.stopButton.style.display = stream.running ? "" : "none";
    const [state, ...figures] = stream.facts;
    const count = figures.pop() ?? "";
    this.mark.textContent = state[0];
    this.mark.dataset.state = state.slice(2);
    this.figures.textContent = ` ${[count, ...figures].join(" · ")}`; // a narrow column shows the count
    this.head.title = stream.facts.join(" · ");
    this.problem.textContent = stream.error;
    if (this.spans.length === stream.length) return;
    this.box.grow(() => {
      for (let index = this.spans.length; index < stream.length; index += 1) this.append(index);
      this.divide();
    });
  }

  append(index) {
    const text = this.stream.text(index);
    if (text === "") {
      this.spans.push(undefined);
      return;
    }
    const span = document.createElement("span");
    span.className = index < this.stream.common ? "conduit-token conduit-generation-common" : "conduit-token";
    span.style.setProperty("--p", this.stream.probability(index).toFixed(2));
    span.textContent = text;
    span.index = index;
    this.spans.push(span);
    this.paragraph.append(span);
    if (text.endsWith("\n")) this.paragraph = this.newParagraph(); // laid out once
  }

  // Split the growing paragraph at its line ends.
  divide() {
    if (this.paragraph.childElementCount < 2 * PARAGRAPH_TOKENS || !this.paragraph.isConnected) return;
    const spans = [...this.paragraph.children].filter((child) => child.index !== undefined);
    const tops = spans.map((span) => place(span).top);
    let part = this.paragraph;
    let first = 0;
    for (let at = 1; at < spans.length; at += 1) {
      if (at - first < PARAGRAPH_TOKENS || tops[at] - tops[at - 1] < 4) continue;
      const next = element("div", "conduit-generation-paragraph");
      next.dataset.divided = "true";
      if (/^ /.test(spans[at].textContent)) next.style.textIndent = `${-spaceWidth(spans[at])}px`; // it hung at the line end
      next.append(...spans.slice(at));
      part.after(next);
      [part, first] = [next, at];
    }
    this.paragraph = part;
  }

  // Lay the paragraphs out again for another width.
  reflow() {
    for (const part of this.body.querySelectorAll("[data-divided]")) {
      part.previousElementSibling.append(...part.childNodes);
      part.remove();
    }
    for (const paragraph of [...this.body.children]) {
      this.paragraph = paragraph;
      this.divide();
    }
  }

  // The number of a token, said when somebody points at it or moves to it.
  describe(span) {
    if (span.index === undefined || span.title) return;
    const number = probabilityText(this.stream.probability(span.index));
    span.title = `p ${number}`;
    span.setAttribute("role", "button");
    span.setAttribute("aria-label", `${span.textContent}, probability ${number}`);
  }

  openAt(span) {
    if (span.index === undefined) return;
    this.moveTo(span.index);
    this.onOpen(span.index);
  }

  moveTo(index) {
    const span = this.spans[index];
    if (span === undefined) return;
    this.describe(span);
    span.tabIndex = -1;
    span.focus({ preventScroll: true });
    span.scrollIntoView({ block: "nearest" });
    this.caret = index;
  }

  // Handle a key in the text; return whether it was one of its own.
  press(key, target) {
    if (target.index !== undefined) this.caret = target.index;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    const line = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (step) this.moveTo(this.beside(Math.max(this.caret, step > 0 ? -1 : 0), step));
    else if (line && target.index !== undefined) this.moveTo(this.below(this.caret, line));
    else if ((key === "Enter" || key === " ") && target.index !== undefined) this.openAt(target);
    else return false;
    return true;
  }

  // The next token with a text of its own in a direction.
  beside(from, step) {
    let index = from + step;
    while (index >= 0 && index < this.spans.length && this.spans[index] === undefined) index += step;
    return index;
  }

  // The token of the next line in a direction that is nearest below or above this one.
  below(from, step) {
    const start = place(this.spans[from]);
    let found = from;
    let nearest = Infinity;
    let top;
    for (let index = this.beside(from, step); this.spans[index]; index = this.beside(index, step)) {
      const rect = place(this.spans[index]);
      if (Math.abs(rect.top - start.top) < 4) continue;
      top ??= rect.top;
      if (Math.abs(rect.top - top) >= 4) break;
      const distance = Math.abs(rect.left + rect.width / 2 - start.left - start.width / 2);
      if (distance < nearest) [nearest, found] = [distance, index];
    }
    return found;
  }

  // Put a panel below the line of a token, into the text; the next token begins a new line.
  insert(panel, index) {
    const { top } = place(this.spans[index]);
    const paragraph = this.spans[index].parentElement;
    let next = this.spans[index].nextSibling;
    while (next && (next === panel || place(next).top - top < 4)) next = next.nextSibling;
    paragraph.insertBefore(panel, next);
    if (next && /^ /.test(next.textContent)) next.style.marginLeft = `${-spaceWidth(next)}px`; // it hung at the line end
    return () => {
      panel.remove();
      if (next) next.style.marginLeft = "";
    };
  }
}

function spaceWidth(span) {
  const range = document.createRange();
  range.setStart(span.firstChild, 0);
  range.setEnd(span.firstChild, 1);
  return range.getBoundingClientRect().width;
}

// Where a token ends: one that begins a line may have its space on the line before.
function place(span) {
  const rects = span.getClientRects();
  return rects[rects.length - 1] ?? span.getBoundingClientRect();
}
