import { StreamAnswer, showValue } from "./answer.js";
import { LANGUAGES, urlOf } from "./calls.js";
import { byteCount, make, makeButton, milliseconds, plural } from "./elements.js";
import { Field } from "./fields.js";

// The form of one endpoint: its fields and examples, Run, the answer, and the same call as code.
//
// `run(call, sink)` makes the call { path, query, body } and returns an object with `stop()`. It
// calls `sink.chunk(value)` per chunk of a stream, then one of `sink.value(value, figures)`,
// `sink.ended(figures)` and `sink.failed({ type, message, hint }, figures)`. `sink.shown(node,
// figures)` has an answer that is an element. The figures are { status, milliseconds, bytes, id }.
// `languages` are functions by name that write the call as code.
export class EndpointForm {
  constructor(facts, run, { base = "", hasKeys = false, code, isAsync, languages = LANGUAGES } = {}) {
    Object.assign(this, { facts, run, base, hasKeys, code, isAsync, languages });
    this.fields = facts.parameters.map((each) => new Field(each, facts));
    this.root = make("section", "conduit-form");
    this.root.setAttribute("aria-label", `${facts.method} ${facts.path}`);
    this.answer = make("div", "conduit-form-answer");
    this.status = make("div", "conduit-form-status");
    this.status.setAttribute("role", "status");
    this.runButton = makeButton("Run", () => this.toggle(), "conduit-form-run");
    this.root.append(this.heading(), make("div", "conduit-form-columns", this.left(), this.right()));
    this.root.addEventListener("keydown", (event) => this.pressed(event));
    this.root.addEventListener("input", () => this.showCode());
    this.showEmpty();
    this.showCode();
  }

  heading() {
    const { facts } = this;
    const title = make("h2", "conduit-form-title", make("span", "conduit-form-method", facts.method), " ", facts.path);
    const texts = [facts.summary, facts.description].filter((text) => text !== "");
    return make("header", "", title, ...texts.map((text) => make("p", "conduit-form-doc", text)));
  }

  left() {
    const parts = [];
    if (this.facts.examples.length > 0) parts.push(this.chips());
    if (this.fields.length === 0) parts.push(make("p", "conduit-form-kind", "It takes no arguments."));
    parts.push(...this.fields.map(({ root }) => root));
    const hint = make("span", "conduit-form-kind conduit-form-keys", "Ctrl-Enter runs it");
    return make("div", "conduit-form-left", ...parts, make("div", "conduit-form-row", this.runButton, hint));
  }

  right() {
    const copy = makeButton("Copy", () => this.copy(copy), "conduit-form-copy");
    this.source = make("pre", "conduit-form-source");
    this.source.tabIndex = 0;
    [this.language] = Object.keys(this.languages);
    this.tabs = Object.keys(this.languages).map((name) => {
      const tab = makeButton(name, () => this.choose(name), "conduit-form-tab");
      tab.setAttribute("role", "tab");
      return tab;
    });
    const tabs = make("div", "conduit-form-tabs", ...this.tabs, copy);
    tabs.setAttribute("role", "tablist");
    return make("div", "conduit-form-right", this.answer, this.status, tabs, this.source);
  }

  chips() {
    const chips = this.facts.examples.map((example) => {
      const chip = makeButton(chipText(example), () => this.fill(example), "conduit-form-chip");
      chip.title = "Fill the form with this recorded call";
      return chip;
    });
    return make("div", "conduit-form-chips", make("span", "conduit-form-kind", "recorded "), ...chips);
  }

  fill({ arguments: value, path }) {
    for (const field of this.fields) {
      const { name, place } = field.parameter;
      if (place === "path") field.write(path[name]);
      else if (place === "whole") field.write(value);
      else field.write(value?.[name] ?? field.schema.default);
    }
    this.showCode();
  }

  // The call of the values in the form; `undefined` where one is wrong, which is then said beside it.
  call() {
    const call = { path: {}, query: {}, body: undefined };
    let wrong;
    for (const field of this.fields) {
      const { name, place } = field.parameter;
      try {
        const value = field.read();
        field.say("");
        if (value === undefined) continue;
        if (place === "whole") call.body = value;
        else if (place === "body") call.body = { ...call.body, [name]: value };
        else call[place][name] = value;
      } catch (error) {
        field.say(error.message);
        wrong ??= field;
      }
    }
    if (this.facts.method !== "GET" && this.facts.whole === undefined) call.body ??= {};
    wrong?.control.input.focus();
    return wrong === undefined ? call : undefined;
  }

  async toggle() {
    if (this.running) {
      this.running.stop();
      return;
    }
    const call = this.call();
    if (call === undefined) return;
    this.running = { stop: () => undefined };
    this.runButton.textContent = "Stop";
    this.runButton.classList.add("conduit-form-stop");
    this.status.textContent = "● running";
    this.answer.classList.add("conduit-form-waits");
    this.stream = undefined;
    this.begun = performance.now();
    call.body = await withFiles(call.body);
    this.running = this.run(call, this.sink());
  }

  sink() {
    const show = (node) => this.answer.replaceChildren(node);
    return {
      chunk: (value) => {
        if (this.stream === undefined) show((this.stream = new StreamAnswer()).root);
        this.answer.classList.remove("conduit-form-waits");
        this.stream.add(value);
        this.status.textContent = `● running · ${plural(this.stream.count, "chunk")} · ${milliseconds(performance.now() - this.begun)}`;
      },
      value: (value, figures) => {
        show(showValue(value));
        this.ended("✓ done", figures);
      },
      shown: (node, figures) => {
        show(node);
        this.ended("✓ done", figures);
      },
      ended: (figures) => {
        if (this.stream === undefined) show(make("div", "conduit-form-kind", "The stream had no chunks."));
        this.ended(figures.isStopped ? "■ cancelled" : "✓ done", figures);
      },
      failed: ({ type, message, hint }, figures) => {
        const problem = make("div", "conduit-form-failed", make("b", "", `✕ ${type}`), make("div", "", message));
        if (hint) problem.append(make("div", "conduit-form-kind", hint));
        if (this.stream === undefined) show(problem);
        else this.answer.append(problem);
        this.ended("✕ failed", figures);
      },
    };
  }

  ended(state, { status, milliseconds: taken, bytes, id }) {
    const chunks = this.stream === undefined ? undefined : plural(this.stream.count, "chunk");
    const shown = [state, status, chunks, taken === undefined ? undefined : milliseconds(taken), bytes === undefined ? undefined : byteCount(bytes)];
    this.status.replaceChildren(shown.filter((each) => each !== undefined).join(" · "));
    if (id) this.status.append(" · ", make("span", "conduit-form-kind", "request "), make("code", "", id));
    this.answer.classList.remove("conduit-form-waits");
    this.runButton.textContent = "Run";
    this.runButton.classList.remove("conduit-form-stop");
    this.running = undefined;
  }

  showEmpty() {
    this.answer.replaceChildren(make("div", "conduit-form-kind", this.facts.isStream ? "The stream will run here." : "The answer will be here."));
  }

  pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.running) {
      event.preventDefault();
      event.stopPropagation();
      this.toggle();
    }
    if (event.key === "Escape" && this.running) this.running.stop();
  }

  choose(name) {
    this.language = name;
    this.showCode();
  }

  // Values that are not whole yet are left out of the code.
  showCode() {
    const call = { path: {}, query: {}, body: undefined };
    for (const { parameter, control } of this.fields) {
      let value;
      try {
        value = control.read();
      } catch {
        continue;
      }
      if (value === undefined) continue;
      if (value instanceof Blob) value = { name: value.name, content_type: value.type, data: "…base64…" };
      if (parameter.place === "whole") call.body = value;
      else if (parameter.place === "body") call.body = { ...call.body, [parameter.name]: value };
      else call[parameter.place][parameter.name] = value;
    }
    if (this.facts.method !== "GET" && this.facts.whole === undefined) call.body ??= {};
    const { facts, hasKeys, code, isAsync } = this;
    this.source.textContent = this.languages[this.language]({ facts, hasKeys, code, isAsync, url: urlOf(this.base, facts, call), ...call });
    for (const tab of this.tabs) tab.setAttribute("aria-selected", String(tab.textContent === this.language));
  }

  async copy(button) {
    await navigator.clipboard.writeText(this.source.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
}

// The values of a recorded call, without their names.
function chipText({ arguments: value, path, summary }) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return summary;
  const texts = [...Object.values(path), ...Object.values(value)].map((each) => (typeof each === "string" ? each : JSON.stringify(each)));
  return texts.join(" · ").slice(0, 80) || "without arguments";
}

// Files in the body become the JSON form of `File`.
async function withFiles(value) {
  if (value instanceof Blob) {
    const bytes = new Uint8Array(await value.arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    return { name: value.name, content_type: value.type || "application/octet-stream", data: btoa(text) };
  }
  if (Array.isArray(value)) return Promise.all(value.map(withFiles));
  if (typeof value !== "object" || value === null) return value;
  const pairs = await Promise.all(Object.entries(value).map(async ([key, each]) => [key, await withFiles(each)]));
  return Object.fromEntries(pairs);
}
