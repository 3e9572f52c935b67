// A model of the page: runs its file on onnxruntime-web, with inputs checked and outputs read as in the app.
import { arrayOf, cast, nameOf } from "./arrays.js";
import { Failure, Predictions, Tensor } from "./values.js";

export class Model {
  constructor(ort, name, { file, ...facts }) {
    Object.assign(this, { ort, name, file, facts });
    this.last = Promise.resolve(); // the previous run, as a session takes one at a time
  }

  open() {
    this.opened ??= this.load();
    return this.opened;
  }

  async load() {
    const answer = await fetch(new URL(this.file, import.meta.url));
    if (!answer.ok) throw new Error(`${this.file} answered ${answer.status}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return this.ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  }

  async predict(value) {
    const { feeds, single } = this.feeds(value);
    const session = await this.open();
    const run = this.last.then(() => session.run(feeds));
    this.last = run.catch(() => undefined);
    return this.answer(await run, single);
  }

  feeds(value) {
    const { inputs } = this.facts;
    const names = inputs.map(({ name }) => name);
    if (value instanceof Map ? names.some((name) => !value.has(name)) || value.size !== names.length : names.length > 1) {
      throw new Failure(`'${this.name}' expects the inputs ${names.join(", ")}`);
    }
    let single = false;
    const rows = new Set();
    const feeds = {};
    for (const input of inputs) {
      const given = this.inputOf(input, value instanceof Map ? value.get(input.name) : value);
      if (input.rows) rows.add(given.shape[0]);
      single ||= given.single;
      feeds[input.name] = new this.ort.Tensor(input.dtype, given.data, given.shape);
    }
    if (rows.size > 1) throw new Failure(`'${this.name}' expects inputs of one batch size`);
    if (rows.has(0)) throw new Failure(`'${this.name}' expects at least one row in a browser`);
    return { feeds, single };
  }

  // The array of one input with its batch axis; `single` marks one sample, given without it.
  inputOf({ name, dtype, shape, rows }, value) {
    const expected = `'${this.name}' expects ${name} ${dtype} [${shape.join(", ")}]`;
    let array;
    try {
      array = arrayOf(value);
    } catch (error) {
      throw new Failure(`${expected}, got ${typeof value === "object" && error instanceof Failure && Array.isArray(value) ? error.message.replace("got ", "") : nameOf(value)}`);
    }
    if (array.isFloat && !dtype.startsWith("float")) throw new Failure(`${expected}, got ${array}`);
    const data = cast(array, dtype).data;
    if (dtype === "float32" && data.some((each, place) => !Number.isFinite(each) && Number.isFinite(Number(array.data[place])))) {
      throw new Failure(`${expected}, got a value that float32 cannot hold`);
    }
    const fits = (given) => given.length === shape.length && shape.every((axis, place) => typeof axis === "string" || axis === given[place]);
    const whole = [1, ...array.shape];
    const isSample = (rows || shape[0] === 1) && !fits(array.shape) && fits(whole);
    if (!isSample && !fits(array.shape)) throw new Failure(`${expected}, got ${array}`);
    return { data, shape: isSample ? whole : array.shape, single: isSample && rows };
  }

  answer(outputs, single) {
    const { facts } = this;
    const arrays = facts.outputs.map(({ name, dtype }) => {
      const { data, dims } = outputs[name];
      return new Tensor(dtype, [...dims], data);
    });
    const predictions = this.predictions(arrays);
    if (predictions !== undefined) return single && predictions.rows.length === 1 ? predictions.row(0) : predictions;
    const parts = arrays.map((array, place) => (single && facts.outputs[place].rows ? array.row(0) : array));
    return parts.length === 1 ? parts[0] : new Map(parts.map((part, place) => [facts.outputs[place].name, part]));
  }

  predictions(arrays) {
    const { classifies, probabilities, own, classes } = this.facts;
    const scores = arrays[probabilities];
    if (!classifies || scores.shape.length !== 2) return undefined;
    const [count, width] = scores.shape;
    const labels = this.facts.labels ?? classes.map(({ text }) => text);
    let rows = Array.from({ length: count }, (_, row) => scores.data.slice(row * width, (row + 1) * width));
    if (width === 1 && labels.length === 2) rows = rows.map((row) => row.constructor.of(1 - row[0], row[0]));
    if (rows.some((row) => row.some(Number.isNaN))) throw new Error(`'${this.name}' gave NaN for a probability`);
    if (own === null) return new Predictions(rows, labels);
    const values = classes.length === labels.length ? classes.map(({ text }) => text) : labels.map((_, place) => String(place));
    const names = new Map(values.map((each, place) => [each, labels[place]]));
    const chosen = Array.from(arrays[own].data, (each) => names.get(String(each)) ?? String(each));
    return new Predictions(rows, labels, chosen);
  }
}
