import { Header, Speaker, button, element, escapeHtml, staticHeader } from "../shared.js";
import { TextColumn, TreeText } from "./column.js";
import { AlternativesPanel } from "./panel.js";
import { BranchRail, RateLine } from "./rail.js";

// The page side of a live generation and its branches; view.py describes the protocol.

const MAX_COLUMNS = 3;
const COLUMN_PIXELS = 280; // minimum readable width
const INLINE_PROMPT_CHARACTERS = 280; // longer or multi-line prompts get a separate box
const STATIC_CHARACTERS = 20_000;
const ASK_AGAIN_MS = 1_000;

class GenerationView {
  constructor({ send }) {
    this.send = send;
    this.streams = new Map(); // by number
    this.columns = new Map(); // by stream; kept once shown
    this.shown = []; // most recently chosen last
    this.open = undefined; // the token whose alternatives are shown
    this.asked = -Infinity;
    this.root = element("div", "conduit-view conduit-generation");
    this.root.setAttribute("role", "group");
    this.tintButton = button("Probabilities", "Tint the tokens by their probability (p)", () => this.tint(!this.tinted));
    this.tintButton.setAttribute("aria-pressed", "false");
    this.stopButton = button("Stop", "Stop all texts that are running (Esc)", () => this.stop(), "conduit-stop");
    this.rate = new RateLine();
    this.header = new Header("Generation", "", this.rate.root, this.stopButton, this.tintButton);
    this.rail = new BranchRail((stream) => this.pick(stream));
    this.prompt = element("div", "conduit-generation-prompt conduit-generation-block");
    this.texts = element("div", "conduit-generation-columns");
    this.texts.dataset.lmSuppressShortcuts = "true"; // the view handles arrows, Enter and letters
    this.body = element("div", "conduit-generation-body");
    this.body.append(this.prompt, this.texts);
    this.speaker = new Speaker();
    this.root.append(this.header.root, this.rail.root, this.body, this.speaker.root);
    this.root.addEventListener("keydown", (event) => this.press(event));
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.root);
  }

  get first() {
    return this.streams.get(0);
  }

  // From the kernel

  receive({ streams = [], tokens = [], facts = [], look, alternatives, problem, show }) {
    for (const told of streams) if (!this.streams.has(told.number)) this.add(told);
    if (look && this.look === undefined) this.restore(look);
    else if (streams.length > 0 && streams[0].number > 0) this.remember(); // a new branch
    for (const batch of tokens) this.append(...batch);
    for (const told of facts) Object.assign(this.streams.get(told.number) ?? {}, told);
    if (alternatives) this.answer(alternatives);
    if (problem) this.answer(problem);
    if (show !== undefined && this.streams.has(show)) this.pick(this.streams.get(show));
    this.repaint();
  }

  add(told) {
    const stream = new TreeText(told, this.streams);
    this.streams.set(told.number, stream);
    if (told.number === 0) this.begin(stream);
    else this.show(stream);
  }

  begin(stream) {
    this.header.root.remove();
    this.header = new Header("Generation", stream.name, this.rate.root, this.stopButton, this.tintButton);
    this.root.prepend(this.header.root);
    this.root.setAttribute("aria-label", `Generation ${stream.name}`);
    this.inline = stream.prompt.length <= INLINE_PROMPT_CHARACTERS && !stream.prompt.trim().includes("\n");
    this.prompt.textContent = this.inline ? "" : stream.prompt.trim();
    this.prompt.hidden = this.inline;
    this.prompt.tabIndex = this.inline ? -1 : 0; // so that the keyboard can scroll it
    this.show(stream);
  }

  append(number, offset, texts, logprobs) {
    const stream = this.streams.get(number);
    const known = stream?.texts.length ?? 0;
    if (stream === undefined || offset > known) {
      this.askForReplay();
      return;
    }
    const fresh = texts.slice(known - offset);
    stream.texts.push(...fresh);
    stream.logprobs.push(...logprobs.slice(known - offset));
    if (number === 0) this.speaker.hear(fresh.join(""));
  }

  askForReplay() {
    if (performance.now() - this.asked < ASK_AGAIN_MS) return;
    this.asked = performance.now();
    this.send({ replay: true });
  }

  // Painting, at most once per frame

  repaint() {
    if (this.painting) return;
    this.painting = requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.painting = undefined;
    const streams = this.ordered();
    if (streams.length === 0) return;
    const running = streams.filter((stream) => stream.running);
    const alone = streams.length === 1;
    this.header.show(alone ? streams[0].facts : [running[0]?.facts[0] ?? streams[0].facts[0], `${streams.length} texts`]);
    if (running.length === 0) this.stopButton.disabled = false;
    if (running.length === 0) this.stopButton.textContent = "Stop";
    this.stopButton.style.visibility = running.length > 0 ? "" : "hidden";
    this.rate.root.style.display = alone && streams[0].rates.length > 1 ? "" : "none";
    if (alone) this.rate.show(streams[0].rates);
    this.rail.paint(streams, this.visible);
    for (const stream of this.visible) this.columns.get(stream).paint(alone);
    if (this.reopen) this.openAgain();
  }

  // The streams of the tree in depth-first order.
  ordered() {
    const under = (stream) => [stream, ...[...this.streams.values()].filter((other) => other.parent === stream).flatMap(under)];
    return this.first ? under(this.first) : [];
  }

  // Columns

  get visible() {
    const fitting = Math.max(1, Math.min(MAX_COLUMNS, Math.floor(this.root.clientWidth / COLUMN_PIXELS)));
    const chosen = new Set(this.shown.slice(-fitting));
    return this.ordered().filter((stream) => chosen.has(stream));
  }

  // Show a stream beside its parent; above three columns the least recently chosen one is hidden.
  show(stream) {
    const { parent } = stream;
    this.shown = this.shown.filter((other) => other !== stream && other !== parent);
    if (parent) this.shown.push(parent);
    this.shown.push(stream);
    this.shown = this.shown.slice(-MAX_COLUMNS);
    if (!this.columns.has(stream)) this.columns.set(stream, this.column(stream));
    if (parent && !this.columns.has(parent)) this.columns.set(parent, this.column(parent));
    this.arrange();
  }

  pick(stream) {
    this.shown = [...this.shown.filter((other) => other !== stream), stream].slice(-MAX_COLUMNS);
    if (!this.columns.has(stream)) this.columns.set(stream, this.column(stream));
    this.arrange();
    this.remember();
  }

  hide(stream) {
    if (this.shown.length > 1) this.shown = this.shown.filter((other) => other !== stream);
    this.arrange();
    this.remember();
  }

  column(stream) {
    return new TextColumn(stream, {
      inlinePrompt: this.inline ? this.first.prompt : "",
      onOpen: (index) => this.ask(stream, index),
      onStop: () => this.send({ stop: stream.number }),
      onHide: () => this.hide(stream),
    });
  }

  // Put the visible columns into the page, without touching those that stay.
  arrange() {
    const roots = this.visible.map((stream) => this.columns.get(stream).root);
    this.texts.dataset.columns = roots.length;
    for (const old of [...this.texts.children]) if (!roots.includes(old)) old.remove();
    for (const [place, root] of roots.entries()) {
      if (this.texts.children[place] !== root) this.texts.insertBefore(root, this.texts.children[place] ?? null);
    }
    this.reflow();
    this.placed();
    this.repaint();
  }

  fit() {
    if (this.root.clientWidth === 0) return;
    if (this.visible.length !== this.texts.children.length) this.arrange();
    if (this.width !== this.root.clientWidth) this.reflow();
  }

  // Line ends have moved: reposition the labels.
  reflow() {
    this.width = this.root.clientWidth;
    for (const stream of this.visible) this.columns.get(stream).reflow();
    if (this.panel) this.settlePanel();
  }

  // Alternatives and branches

  ask(stream, index) {
    if (this.open?.stream === stream && this.open.index === index) {
      this.closePanel();
      return;
    }
    this.closePanel();
    this.open = { stream, index };
    this.panel = new AlternativesPanel(stream.text(index), {
      onPick: (token) => this.send({ branch: [stream.number, index, token] }),
      onClose: () => this.closePanel(),
    });
    this.columns.get(stream).spans[index].classList.add("conduit-generation-open");
    this.settlePanel();
    this.send({ alternatives: [stream.number, index] });
    this.remember();
  }

  settlePanel() {
    const focused = this.panel.root.contains(document.activeElement) ? document.activeElement : undefined;
    this.unsettle?.();
    this.unsettle = this.columns.get(this.open.stream).insert(this.panel.root, this.open.index);
    focused?.focus({ preventScroll: true });
  }

  closePanel() {
    if (this.open === undefined) return;
    const { stream, index } = this.open;
    const inside = this.panel.root.contains(document.activeElement);
    this.unsettle?.();
    this.columns.get(stream).spans[index].classList.remove("conduit-generation-open");
    this.panel = this.open = this.unsettle = undefined;
    if (inside) this.columns.get(stream).moveTo(index);
    this.remember();
  }

  answer({ number, index, chosen, rows, sentence }) {
    if (this.open?.stream.number !== number || this.open.index !== index) return;
    if (rows) this.panel.show(chosen, rows);
    else this.panel.fail(sentence);
  }

  // Keys and buttons

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input");
    if (event.key === "Escape") {
      event.stopPropagation();
      if (this.open) this.closePanel();
      else this.stop();
    } else if (event.key === "p" && !typing) {
      event.stopPropagation();
      this.tint(!this.tinted);
    }
  }

  tint(on) {
    this.tinted = on;
    this.root.classList.toggle("conduit-generation-tinted", on);
    this.tintButton.setAttribute("aria-pressed", String(on));
    this.remember();
  }

  stop() {
    if (!this.ordered().some((stream) => stream.running)) return;
    this.stopButton.disabled = true;
    this.stopButton.textContent = "Stopping";
    this.send({ stop: "all" });
  }

  // The kernel stores the state of the view, for a page that is reloaded.
  remember() {
    this.look = {
      tinted: Boolean(this.tinted),
      shown: this.shown.map((stream) => stream.number),
      open: this.open ? [this.open.stream.number, this.open.index] : null,
    };
    this.send({ look: this.look });
  }

  restore(look) {
    this.look = look;
    this.tinted = look.tinted;
    this.root.classList.toggle("conduit-generation-tinted", look.tinted);
    this.tintButton.setAttribute("aria-pressed", String(look.tinted));
    const shown = look.shown.map((number) => this.streams.get(number)).filter(Boolean);
    if (shown.length > 0) this.shown = shown;
    for (const stream of shown) if (!this.columns.has(stream)) this.columns.set(stream, this.column(stream));
    this.reopen = look.open;
    this.arrange();
  }

  // Reopen the panel that was open before a reload, once its token has arrived.
  openAgain() {
    const [number, index] = this.reopen;
    const stream = this.streams.get(number);
    if (!this.columns.get(stream)?.spans[index]) return;
    this.reopen = undefined;
    this.ask(stream, index);
  }

  // Back in the page, or removed

  placed() {
    for (const stream of this.visible) this.columns.get(stream).box.placed();
  }

  // Static HTML of running texts; afterwards the kernel's own form exists.
  snapshot(state) {
    const streams = this.ordered();
    if (!streams.some((stream) => stream.running)) return undefined;
    const [first, ...branches] = streams.map((stream) => staticTokens(stream));
    const head = staticHeader("Generation", this.first.name, [state, ...this.first.facts.slice(1)]);
    const folded = branches.map((html, place) => `<details><summary>${escapeHtml(streams[place + 1].name)}</summary>${html}</details>`);
    return head + first + folded.join("");
  }

  close() {
    this.resized.disconnect();
    cancelAnimationFrame(this.painting);
  }
}

// The text of a stream as static HTML, tinted like the kernel's form; only the newest part if it is long.
function staticTokens(stream) {
  const parts = [];
  let size = 0;
  let index = stream.length;
  for (; index > 0 && size < STATIC_CHARACTERS; index -= 1) {
    const text = stream.text(index - 1);
    const alpha = 0.5 * (1 - stream.probability(index - 1));
    size += text.length;
    if (alpha < 0.005) parts.push(escapeHtml(text));
    else parts.push(`<span style="background:rgba(0,114,178,${alpha.toFixed(2)})">${escapeHtml(text)}</span>`);
  }
  const prompt = index > 0 ? `… ${index} tokens before this: stream.text\n` : stream.owner(0).prompt ?? "";
  return (
    `<div style="font-family:monospace;font-size:13px;line-height:20px;white-space:pre-wrap;overflow-wrap:break-word;` +
    `max-height:320px;overflow-y:auto;padding:4px 0;max-width:720px"><span style="opacity:.7">${escapeHtml(prompt)}</span>${parts.reverse().join("")}</div>`
  );
}

export default GenerationView;
