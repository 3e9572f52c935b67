// The values of a program: an int is a BigInt, a float a number, an object a Map, an array a Tensor.

export class Failure extends Error {}

export class Tensor {
  constructor(dtype, shape, data) {
    Object.assign(this, { dtype, shape, data });
  }

  get isFloat() {
    return this.dtype.startsWith("float");
  }

  // The Python number of one element.
  at(place) {
    const value = this.data[place];
    if (this.isFloat || typeof value === "string") return value;
    return this.dtype === "bool" ? Boolean(value) : BigInt(value);
  }

  row(place) {
    const count = this.shape[0] ?? 0;
    const at = Number(place) < 0 ? Number(place) + count : Number(place);
    if (this.shape.length === 0 || at < 0 || at >= count) throw new Failure(`index ${place} is out of bounds for ${this}`);
    const size = sizeOf(this.shape.slice(1));
    return new Tensor(this.dtype, this.shape.slice(1), this.data.slice(at * size, (at + 1) * size));
  }

  toString() {
    return `${this.dtype} [${this.shape.join(", ")}]`;
  }
}

export class Prediction {
  constructor(label, score, labels, row) {
    Object.assign(this, { label, score, labels, row });
  }

  get probabilities() {
    return new Map(this.labels.map((label, place) => [label, this.row[place]]));
  }
}

// The predictions of a batch: `rows` has an array of probabilities per row.
export class Predictions {
  constructor(rows, labels, chosen) {
    Object.assign(this, { rows, labels, chosen });
  }

  row(place) {
    const row = this.rows[place];
    if (this.chosen === undefined) return predictionOf(row, this.labels);
    return predictionOf(row, this.labels, this.chosen[place]);
  }
}

export function predictionOf(row, labels, label) {
  if (label === undefined) {
    const best = bestOf(row);
    return new Prediction(labels[best], row[best], labels, row);
  }
  const place = labels.indexOf(label);
  return new Prediction(label, place < 0 ? 0 : row[place], labels, row);
}

// The index of the largest number, the earliest in a tie.
export function bestOf(numbers) {
  let best = 0;
  for (let place = 1; place < numbers.length; place += 1) if (numbers[place] > numbers[best]) best = place;
  return best;
}

export function sizeOf(shape) {
  return shape.reduce((product, axis) => product * axis, 1);
}

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, str: Array };

export function emptyData(dtype, size) {
  const Kind = ARRAYS[dtype];
  if (Kind === undefined) throw new Failure(`arrays of ${dtype} are not supported in a browser`);
  return new Kind(size);
}

const TOKEN = /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?\d+)(\.\d+)?([eE][+-]?\d+)?|(true|false|null))/y;

// Parse JSON as Python does: arbitrary-precision integers, with 1.0 distinct from 1.
export function parseJson(text) {
  JSON.parse(text); // throws for invalid JSON
  TOKEN.lastIndex = 0;
  return parseNext(text, TOKEN.exec(text));
}

function parseNext(text, token) {
  const [, mark, string, integer, decimals, exponent, word] = token;
  if (string !== undefined) return JSON.parse(string);
  if (word !== undefined) return JSON.parse(word);
  if (integer !== undefined) return decimals === undefined && exponent === undefined ? BigInt(integer) : Number(integer + (decimals ?? "") + (exponent ?? ""));
  const found = mark === "[" ? [] : new Map();
  for (let next = TOKEN.exec(text); next[1] !== "]" && next[1] !== "}"; next = TOKEN.exec(text)) {
    if (next[1] === ",") continue;
    if (mark === "[") {
      found.push(parseNext(text, next));
    } else {
      TOKEN.exec(text); // the colon
      found.set(JSON.parse(next[2]), parseNext(text, TOKEN.exec(text)));
    }
  }
  return found;
}

// Serialize a value as the app does.
export function writeJson(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return float64Text(value);
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  if (value instanceof Map) return writeObject([...value]);
  if (value instanceof Prediction) return writeObject(["label", "score", "probabilities"].map((name) => [name, value[name]]));
  if (value instanceof Predictions) return `[${[...value.rows.keys()].map((place) => writeJson(value.row(place))).join(",")}]`;
  return writeTensor(value);
}

function writeObject(pairs) {
  return `{${pairs.map(([key, each]) => `${JSON.stringify(key)}:${writeJson(each)}`).join(",")}}`;
}

function writeTensor(tensor) {
  if (tensor.dtype === "uint8" && tensor.shape.length > 1) throw new Failure("an image as an answer is not supported in a browser");
  if (tensor.shape.length === 0) return tensor.dtype === "float32" ? float32Text(tensor.data[0]) : writeJson(tensor.at(0));
  const parts = [];
  for (let place = 0; place < tensor.shape[0]; place += 1) parts.push(writeTensor(tensor.row(place)));
  return `[${parts.join(",")}]`;
}

function float64Text(value) {
  if (!Number.isFinite(value)) return "null";
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

// The shortest decimal that float32 parses as the same number; the even one in a tie.
function float32Text(value) {
  if (!Number.isFinite(value)) return "null";
  for (let digits = 1; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return float64Text(evenOf(value, digits, short));
  }
  return float64Text(Number(value.toPrecision(9)));
}

function evenOf(value, digits, rounded) {
  const [mantissa, exponent] = value.toExponential(100).split("e");
  const figures = mantissa.replace(/[-.]/g, "");
  const isTie = /^50*$/.test(figures.slice(digits)) && Number(figures[digits - 1]) % 2 === 0;
  if (!isTie) return rounded;
  const low = Number(`${value < 0 ? "-" : ""}${figures[0]}.${figures.slice(1, digits)}0e${exponent}`);
  return Math.fround(low) === value ? low : rounded;
}
