import { urlOf } from "./calls.js";
import { make } from "./elements.js";
import { Page } from "./page.js";

// The page of a served app: reads /openapi.json, asks for a key where it needs one, calls over HTTP.

const BASE = location.href.replace(/[?#].*$/, "").replace(/[^/]*$/, "");
let key = ""; // in this page's memory alone

async function load() {
  const answer = await fetch(`${BASE}openapi.json`, { headers: authorization(), cache: "no-store" });
  if (answer.status === 401) {
    askForKey(key === "" ? "This app needs a key." : "The app refused this key.");
    return;
  }
  if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
  const specification = await answer.json();
  const hasKeys = specification.security !== undefined;
  const link = make("a", "conduit-form-kind", "openapi.json");
  link.href = `${BASE}openapi.json`;
  new Page(specification, { run: request, about: hasKeys ? [keyField("Key", () => undefined), link] : [link], options: { base: BASE, hasKeys } });
}

function authorization() {
  return key === "" ? {} : { authorization: `Bearer ${key}` };
}

function keyField(label, onKey) {
  const input = make("input", "conduit-form-input");
  Object.assign(input, { type: "password", autocomplete: "off", value: key });
  input.addEventListener("change", () => {
    key = input.value.trim();
    onKey();
  });
  return make("label", "page-key", make("span", "conduit-form-kind", `${label} `), input);
}

function askForKey(text) {
  const field = keyField("Key", () => load().catch(fail));
  main().replaceChildren(make("div", "page-note", make("p", "", text), field, make("p", "conduit-form-kind", "It stays in this page's memory, and is gone when you leave.")));
  field.querySelector("input").focus();
}

function main() {
  return document.getElementById("page");
}

function fail(error) {
  main().replaceChildren(make("div", "page-note conduit-form-failed", `✕ ${error.message}`));
}

// One call over HTTP, as `EndpointForm` makes it.
function request(facts, call, sink) {
  const control = new AbortController();
  const begun = performance.now();
  const figures = { isStopped: false };
  const headers = { ...authorization(), ...(facts.method === "GET" ? {} : { "content-type": "application/json" }) }; // an empty body is declared too
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  const taken = () => ({ ...figures, milliseconds: performance.now() - begun });
  const run = async () => {
    const answer = await fetch(urlOf(BASE, facts, call), { method: facts.method, headers, body, signal: control.signal, cache: "no-store" });
    Object.assign(figures, { status: answer.status, id: answer.headers.get("x-request-id") ?? "" });
    if ((answer.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      const error = await readEvents(answer.body, sink);
      if (error === undefined) sink.ended(taken());
      else sink.failed(error, taken());
      return;
    }
    const text = await answer.text();
    figures.bytes = new Blob([text]).size;
    const value = text === "" ? null : JSON.parse(text);
    if (answer.ok) sink.value(value, taken());
    else sink.failed({ type: value?.error?.type ?? String(answer.status), message: value?.error?.message ?? text, hint: value?.error?.hint }, taken());
  };
  run().catch((error) => {
    if (control.signal.aborted) sink.ended({ ...taken(), isStopped: true });
    else sink.failed({ type: "no answer", message: error.message, hint: "Is the server running?" }, taken());
  });
  return { stop: () => control.abort() };
}

// Returns the data of an `error` event, if there is one.
async function readEvents(stream, sink) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return undefined;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const kind = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data === "" || kind === "end") continue;
      if (kind === "error") return JSON.parse(data);
      if (kind === undefined) sink.chunk(JSON.parse(data));
    }
  }
}

load().catch(fail);
