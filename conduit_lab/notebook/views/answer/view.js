import { Header, Speaker, button, element, staticHeader } from "../shared.js";

// The page side of a streaming answer; view.py describes the protocol. Styles are those of
// core/views/pieces.py, inline: a save stores the live form as the static form.

const ASK_AGAIN_MS = 1_000;
const BODY = "font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:20px;font-variant-numeric:tabular-nums";
const BREAK = "overflow-wrap:break-word";
const WIDTH = "max-width:720px";
const QUIET = `${BODY};${WIDTH};${BREAK};font-size:12px;line-height:16px;opacity:.7;margin:2px 0`;
const LARGE = `${BODY};${WIDTH};${BREAK};font-size:20px;line-height:28px;margin:4px 0 8px 0`;
const COLUMN = `flex:1 1 440px;min-width:0;${WIDTH}`;
const RAISED = "font-size:12px;line-height:0;padding-left:2px";
const MARK = "background:rgba(230,159,0,.35);font-style:normal";
const RUNNING_TEXT = `${BODY};${WIDTH};white-space:pre-wrap;${BREAK}`;
const CARD = "border-top:1px solid rgba(128,128,128,.35);padding:8px 0;display:flex;flex-wrap:wrap;column-gap:32px;row-gap:4px";
const SCORE = "padding:0 8px;min-width:96px;margin-left:auto;text-align:right;white-space:nowrap";

class AnswerView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-answer");
    this.root.setAttribute("role", "group");
    this.stopButton = button("Stop", "Stop this answer (Esc)", () => this.stop(), "conduit-stop");
    this.header = new Header("Answer", "", this.stopButton);
    this.question = styled("div", QUIET);
    this.answer = new NumberedText();
    this.notes = element("div");
    this.sources = styled("div", COLUMN); // reserves its space before the sources are found
    const left = styled("div", COLUMN);
    left.append(this.question, this.answer.root, this.notes);
    this.body = styled("div", "display:flex;flex-wrap:wrap;column-gap:32px");
    this.body.append(left, this.sources);
    this.speaker = new Speaker();
    this.root.append(this.header.root, this.body, this.speaker.root);
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.stop();
    });
    this.cards = [];
    this.seq = -1;
    this.asked = -Infinity;
  }

  stop() {
    this.stopButton.disabled = true;
    this.stopButton.textContent = "Stopping";
    this.send({ stop: true });
  }

  receive(message) {
    if (message.seq <= this.seq) return;
    if (message.facts) this.showFacts(message.facts);
    if (message.seq !== this.seq + 1 && !message.whole) {
      this.askForReplay();
      return;
    }
    this.seq = message.seq;
    if (message.question !== undefined) this.ask(message.question);
    if (message.whole || message.text || message.numbers) this.write(message);
    if (message.notes) this.notes.replaceChildren(...message.notes.map((note) => styled("div", QUIET, note)));
    if (message.cards) this.showCards(message.cards);
  }

  askForReplay() {
    if (performance.now() - this.asked < ASK_AGAIN_MS) return;
    this.asked = performance.now();
    this.send({ replay: true });
  }

  ask(question) {
    this.question.textContent = question;
    this.root.setAttribute("aria-label", `Answer to ${question}`);
  }

  write({ whole = false, text = "", numbers = this.answer.numbers }) {
    const before = this.answer.text;
    const now = whole ? text : before + text;
    if (now.startsWith(before)) this.speaker.hear(now.slice(before.length));
    this.answer.show(now, numbers);
  }

  showCards(cards) {
    const known = this.cards;
    this.cards = cards.map((told, place) => known[place] ?? new SourceCard());
    this.cards.forEach((card, place) => card.show(cards[place]));
    this.sources.replaceChildren(...this.cards.map((card) => card.root));
    if (cards.length === 0) this.sources.remove();
    else this.body.append(this.sources);
  }

  showFacts(facts) {
    this.header.show(facts);
    if (this.header.ended) this.stopButton.style.visibility = "hidden";
  }

  placed() {
    this.host = this.root.closest(".jp-OutputArea-output");
  }

  // Passages that the reader has opened stay open in the static form, which may exist already.
  ending() {
    const opened = this.cards.map((card) => card.folded.open);
    if (!this.host || !opened.includes(true)) return;
    const reopen = () => {
      const folded = [...this.host.querySelectorAll("details")];
      if (this.root.isConnected || folded.length !== opened.length) return false;
      folded.forEach((node, place) => (node.open = opened[place]));
      return true;
    };
    if (reopen()) return;
    const observer = new MutationObserver(() => reopen() && observer.disconnect());
    observer.observe(this.host, { childList: true, subtree: true });
    setTimeout(() => observer.disconnect(), 2_000);
  }

  snapshot(state) {
    return staticHeader("Answer", "", [state, ...this.header.facts.slice(1)]) + this.body.outerHTML;
  }
}

// A large text with superscript numbers; only changed parts are re-rendered, so a selection stays.
class NumberedText {
  constructor() {
    this.root = styled("div", LARGE);
    this.line = styled("div", "white-space:pre-wrap");
    this.line.className = "conduit-answer-text";
    this.root.append(this.line);
    this.text = "";
    this.numbers = [];
  }

  show(text, numbers) {
    let same = 0;
    while (same < numbers.length && String(numbers[same]) === String(this.numbers[same])) same += 1;
    const kept = same === 0 ? 0 : numbers[same - 1][0];
    if (same === this.numbers.length && same === numbers.length && text.startsWith(this.text)) this.append(text.slice(this.text.length));
    else if (text.startsWith(this.text.slice(0, kept))) this.rewrite(text, numbers, same, kept);
    else this.rewrite(text, numbers, 0, 0);
    this.text = text;
    this.numbers = numbers;
  }

  append(text) {
    if (text === "") return;
    const last = this.line.lastChild;
    if (last?.nodeType === Node.TEXT_NODE) last.appendData(text);
    else this.line.append(text);
  }

  // Re-render everything after the first `same` numbers, which end at `kept`.
  rewrite(text, numbers, same, kept) {
    const raised = this.line.querySelectorAll("sup");
    const last = same === 0 ? null : raised[same - 1];
    while (this.line.lastChild !== last) this.line.lastChild.remove();
    let at = kept;
    for (const [place, number] of numbers.slice(same)) {
      this.line.append(text.slice(at, place), styled("sup", RAISED, number));
      at = place;
    }
    this.line.append(text.slice(at));
  }
}

// A source: its heading, its similarity as a bar, an excerpt, and the whole passage folded.
class SourceCard {
  constructor() {
    this.root = styled("div", CARD);
    this.number = styled("span", "opacity:.7");
    this.title = element("b");
    this.score = styled("span", SCORE);
    this.head = styled("div", `${BODY};display:flex;column-gap:12px;align-items:baseline`);
    const name = styled("span", `min-width:0;${BREAK}`);
    name.append(this.number, " ", this.title);
    this.head.append(name);
    this.excerpt = styled("div", RUNNING_TEXT);
    this.folded = styled("details", `${BODY};margin:4px 0`);
    this.summary = styled("summary", "opacity:.7;cursor:pointer");
    this.passage = styled("div", `${RUNNING_TEXT};max-height:320px;overflow-y:auto`);
    this.facts = styled("div", QUIET);
    this.folded.append(this.summary, this.passage, this.facts);
    const inner = styled("div", `flex:1 1 400px;min-width:0;${WIDTH}`);
    inner.append(this.head, this.excerpt, this.folded);
    this.root.append(inner);
  }

  show(told) {
    this.number.textContent = told.number;
    this.title.textContent = told.title;
    this.score.textContent = told.score;
    this.score.style.background = ground(told.share);
    if (told.score) this.head.append(this.score);
    this.summary.textContent = told.summary;
    this.facts.textContent = told.facts;
    const shown = JSON.stringify([told.excerpt, told.passage]);
    if (shown === this.shown) return;
    this.shown = shown;
    mark(this.excerpt, told.excerpt);
    mark(this.passage, told.passage);
  }
}

function mark(place, parts) {
  place.replaceChildren(...parts.map(([text, marked]) => (marked ? styled("em", MARK, text) : document.createTextNode(text))));
}

function ground(share) {
  const end = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
  return `linear-gradient(to right,rgba(0,114,178,.35) ${end},rgba(128,128,128,.08) ${end})`;
}

function styled(tag, style, text = "") {
  const node = element(tag, "", text);
  node.style.cssText = style;
  return node;
}

export default AnswerView;
