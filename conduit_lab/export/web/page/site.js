// The endpoints of the app, in this browser: `await answer("/predict", { features: [1, 2] })`.
import { InferenceSession, Tensor as OrtTensor, env } from "./ort/onnxruntime.js";
import { Model } from "./model.js";
import { run } from "./program.js";
import { Failure, parseJson, writeJson } from "./values.js";

env.wasm.numThreads = 1; // threads need headers that a plain file server does not send
env.wasm.wasmPaths = { wasm: new URL("ort/onnxruntime.wasm", import.meta.url).href };

export { Failure };

export const app = await read("app.json");

const models = Object.fromEntries(
  Object.entries(app.models).map(([name, facts]) => [name, new Model({ InferenceSession, Tensor: OrtTensor }, name, facts)]),
);

async function read(file) {
  const answer = await fetch(new URL(file, import.meta.url));
  if (!answer.ok) throw new Error(`${file} answered ${answer.status}`);
  return answer.json();
}

// Answer a call with the given JSON body; the second path is an example's.
export async function answer(path, body, { method = "POST", parameters = {} } = {}) {
  return JSON.parse(await answerText(method, path, JSON.stringify(body ?? {}), JSON.stringify(parameters)));
}

// Answer with the same text as the app; body and path parameters are JSON texts.
export async function answerText(method, path, body, parameters = "{}") {
  const program = app.programs.find((each) => each.path === path && each.method === method);
  if (program === undefined) throw new Failure(`nothing is served at ${method} ${path}; there are ${app.programs.map((each) => `${each.method} ${each.path}`).join(", ")}`);
  const value = parseJson(body);
  const given = { path: parseJson(parameters), query: value instanceof Map ? value : new Map(), body: value };
  return writeJson(await run(program, given, models));
}

// Load every model, so that the first call does not have to wait.
export async function preload() {
  await Promise.all(Object.values(models).map((model) => model.open()));
}
