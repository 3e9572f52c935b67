import { make } from "./elements.js";
import { Page } from "./page.js";

// The page of the exported app: the same forms as at /docs, answered in this browser.

const LANGUAGE = {
  JavaScript: ({ facts, path, query, body }) => {
    const value = JSON.stringify(facts.method === "GET" ? query : body, undefined, 2);
    const options = [...(facts.method === "POST" ? [] : [`method: "${facts.method}"`]), ...(Object.keys(path).length > 0 ? [`parameters: ${JSON.stringify(path)}`] : [])];
    const more = options.length > 0 ? `, { ${options.join(", ")} }` : "";
    return `import { answer } from "./site.js";\n\nconst value = await answer(${JSON.stringify(facts.path)}, ${value}${more});\nconsole.log(value);`;
  },
};

// Makes a call of an endpoint, as `EndpointForm` asks for it. A run cannot be interrupted: after a
// stop its answer is dropped.
function runWith({ answerText, Failure }) {
  return (facts, call, sink) => {
    const begun = performance.now();
    const figures = (more) => ({ milliseconds: performance.now() - begun, ...more });
    const body = JSON.stringify(facts.method === "GET" ? call.query : (call.body ?? {}));
    let isStopped = false;
    const made = answerText(facts.method, facts.path, body, JSON.stringify(call.path)).then(
      (text) => () => sink.value(JSON.parse(text), figures({ bytes: new Blob([text]).size })),
      (error) => () => sink.failed({ type: error instanceof Failure ? "invalid_request" : "failed", message: error.message }, figures()),
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
  const note = make("span", "conduit-form-kind", `runs in this browser on onnxruntime-web ${site.app.runtime}: no request leaves the page`);
  new Page(site.app.openapi, { run: runWith(site), about: [note], options: { languages: LANGUAGE } });
  globalThis.conduit = site; // for the console, and for the proof of the export
  await site.preload();
}

start().catch((error) => {
  globalThis.conduit ??= { problem: error.message };
  if (globalThis.conduit.problem) document.getElementById("page").replaceChildren(make("div", "page-note conduit-form-failed", `✕ ${error.message}`));
});
