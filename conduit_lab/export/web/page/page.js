import { make } from "./elements.js";
import { Page } from "./page.js";

// The page of the exported app: the same forms as at /docs, answered in this browser.

const LANGUAGE = {
  JavaScript: ({ facts, path, query, body }) => {
    const value = literalOf(facts.method === "GET" ? query : body, "");
    const options = [...(facts.method === "POST" ? [] : [`method: "${facts.method}"`]), ...(Object.keys(path).length > 0 ? [`parameters: ${JSON.stringify(path)}`] : [])];
    const more = options.length > 0 ? `, { ${options.join(", ")} }` : "";
    return `import { answer } from "./site.js";\n\nconst value = await answer(${JSON.stringify(facts.path)}, ${value}${more});\nconsole.log(value);`;
  },
};

// Format a JSON value as code; long ones on several lines.
function literalOf(value, indent) {
  const isList = Array.isArray(value);
  const parts = isList ? value.map((each) => ["", each]) : Object.entries(value ?? {}).map(([key, each]) => [`${JSON.stringify(key)}: `, each]);
  if (typeof value !== "object" || parts.length === 0) return JSON.stringify(value ?? null);
  const [open, close] = isList ? "[]" : "{}";
  if (JSON.stringify(value).length + indent.length <= 60) {
    const flat = parts.map(([key, each]) => key + literalOf(each, "")).join(", ");
    return isList ? `[${flat}]` : `{ ${flat} }`;
  }
  const lines = parts.map(([key, each]) => `${indent}  ${key}${literalOf(each, `${indent}  `)},\n`);
  return `${open}\n${lines.join("")}${indent}${close}`;
}

// Call an endpoint for `EndpointForm`. A run cannot be interrupted: after a
// stop its answer is dropped. Its time starts once the models are `loaded`.
function runWith({ answerText, Failure }, loaded) {
  return (facts, call, sink) => {
    let begun = performance.now();
    loaded.then(() => (begun = performance.now()));
    const figures = (more) => ({ milliseconds: performance.now() - begun, ...more });
    const body = JSON.stringify(facts.method === "GET" ? call.query : (call.body ?? {}));
    let isStopped = false;
    const made = loaded.then(() => answerText(facts.method, facts.path, body, JSON.stringify(call.path))).then(
      (text) => () => sink.value(JSON.parse(text), figures({ bytes: new Blob([text]).size })),
      (error) => () => sink.failed({ type: error instanceof Failure ? "bad_input" : "failed", message: error.message }, figures()),
    );
    made.then((show) => isStopped || show());
    return {
      stop: () => {
        isStopped = true;
        sink.ended(figures({ isStopped }));
      },
    };
  };
}

async function start() {
  const site = await import("./site.js");
  const loaded = site.preload().catch(() => undefined); // a call reports why its model failed to load
  const note = make("span", "conduit-form-kind", `runs in this browser on onnxruntime-web ${site.app.runtime}: no request leaves the page`);
  new Page(site.app.openapi, { run: runWith(site, loaded), about: [note], options: { languages: LANGUAGE } });
  globalThis.conduit = site; // for the console, and for the proof of the export
}

start().catch((error) => {
  globalThis.conduit ??= { problem: error.message };
  if (globalThis.conduit.problem) document.getElementById("page").replaceChildren(make("div", "page-note conduit-form-failed", `✕ ${error.message}`));
});
