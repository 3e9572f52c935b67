// The operations of a program, with the same results as in Python and NumPy.
import { arrayOf, cast, nameOf, toList } from "./arrays.js";
import { combine } from "./combine.js";
import { bestOf, emptyData, Failure, Prediction, Predictions, Tensor } from "./values.js";

export const OPERATIONS = {
  item: ({ of, key }) => itemOf(of, key),
  get: ({ of, key, default: other }) => (mapOf(of).has(key) ? of.get(key) : other),
  attribute: ({ of, name }) => attributeOf(of, name),
  array: ({ of, dtype }) => (dtype === null ? arrayOf(of) : cast(arrayOf(of), dtype)),
  tolist: ({ of }) => (of instanceof Tensor ? toList(of) : wrong("an array", of)),
  number: ({ of }) => single(of),
  float: ({ of }) => Number(single(of)),
  int: ({ of }) => truncated(single(of)),
  argmax: ({ of }) => new Tensor("int64", [], BigInt64Array.of(BigInt(bestOf(arrayOf(of).data)))),
  round: ({ of, digits }) => rounded(of, digits),
  combine: ({ of, name, weights }) => combine(name, of, weights),
  add: ({ of, by }) => calculate(of, by, (a, b) => a + b),
  subtract: ({ of, by }) => calculate(of, by, (a, b) => a - b),
  multiply: ({ of, by }) => calculate(of, by, (a, b) => a * b),
  divide: ({ of, by }) => divide(of, by),
  negative: ({ of }) => unary(of, (value) => -value),
  absolute: ({ of }) => unary(of, (value) => (value < 0 ? -value : value)),
  exp: ({ of }) => unary(inFloats(of), Math.exp),
  log: ({ of }) => unary(inFloats(of), Math.log),
  sqrt: ({ of }) => unary(inFloats(of), Math.sqrt),
  tanh: ({ of }) => unary(inFloats(of), Math.tanh),
};

function wrong(expected, got) {
  throw new Failure(`expected ${expected}, got ${nameOf(got)}`);
}

function mapOf(value) {
  return value instanceof Map ? value : wrong("an object", value);
}

function itemOf(value, key) {
  if (value instanceof Prediction && typeof key === "string") return attributeOf(value, key);
  if (typeof key === "string") {
    if (mapOf(value).has(key)) return value.get(key);
    const keys = [...value.keys()].map((each) => `'${each}'`).slice(0, 10).join(", ");
    throw new Failure(`the body has no '${key}'; it has ${keys || "no keys"}`);
  }
  if (value instanceof Tensor) return value.row(key);
  const count = value instanceof Predictions ? value.rows.length : Array.isArray(value) ? value.length : wrong("a list", value);
  const place = Number(key) < 0 ? Number(key) + count : Number(key);
  if (place < 0 || place >= count) throw new Failure(`the list has no item ${key}: it has ${count}`);
  return value instanceof Predictions ? value.row(place) : value[place];
}

function attributeOf(value, name) {
  if (value instanceof Prediction) return value[name];
  if (value instanceof Predictions && name === "probabilities") {
    const rows = value.rows.map((row) => new Tensor(row instanceof Float32Array ? "float32" : "float64", [row.length], row));
    const data = emptyData(rows[0]?.dtype ?? "float64", rows.length * value.labels.length);
    rows.forEach((row, place) => data.set(row.data, place * value.labels.length));
    return new Tensor(rows[0]?.dtype ?? "float64", [rows.length, value.labels.length], data);
  }
  return wrong("a prediction", value);
}

function single(value) {
  if (value instanceof Tensor) return value.data.length === 1 ? value.at(0) : wrong("one number", value);
  return ["number", "bigint", "boolean"].includes(typeof value) ? value : wrong("a number", value);
}

function truncated(value) {
  if (typeof value === "bigint") return value;
  if (!Number.isFinite(Number(value))) throw new Failure(`cannot convert ${value} to an int`);
  return BigInt(Math.trunc(Number(value)));
}

function inFloats(value) {
  const array = value instanceof Tensor ? value : arrayOf(value);
  return array.isFloat ? array : cast(array, "float64");
}

function unary(value, operation) {
  if (!(value instanceof Tensor)) return operation(typeof value === "bigint" || typeof value === "number" ? value : wrong("a number", value));
  return new Tensor(value.dtype, value.shape, value.data.map(operation));
}

function calculate(left, right, operation) {
  if (!(left instanceof Tensor) && !(right instanceof Tensor)) {
    const [a, b] = [left, right].map((each) => (typeof each === "boolean" ? BigInt(each) : single(each)));
    return typeof a === "bigint" && typeof b === "bigint" ? operation(a, b) : operation(Number(a), Number(b));
  }
  const [a, b] = inOneType(left, right);
  const shape = a.shape.length > 0 ? a.shape : b.shape;
  const isEqual = a.shape.length === 0 || b.shape.length === 0 || a.shape.join() === b.shape.join();
  if (!isEqual) throw new Failure(`expected arrays of one shape, got ${a} and ${b}`);
  const data = emptyData(a.dtype, Math.max(a.data.length, b.data.length));
  for (let place = 0; place < data.length; place += 1) data[place] = operation(a.data[a.shape.length > 0 ? place : 0], b.data[b.shape.length > 0 ? place : 0]);
  return new Tensor(a.dtype, shape, data);
}

// A Python number takes the dtype of the other operand's array, as in NumPy 2.
function inOneType(left, right) {
  const [a, b] = [left, right].map(arrayOf);
  if (a.dtype === b.dtype) return [a, b];
  if (!(left instanceof Tensor) && (a.dtype === "int64" || b.isFloat)) return [cast(a, b.dtype), b];
  if (!(right instanceof Tensor) && (b.dtype === "int64" || a.isFloat)) return [a, cast(b, a.dtype)];
  return [cast(a, "float64"), cast(b, "float64")];
}

function divide(left, right) {
  if (left instanceof Tensor || right instanceof Tensor) {
    const [a, b] = inOneType(left, right);
    return a.isFloat ? calculate(a, b, (x, y) => x / y) : calculate(cast(a, "float64"), cast(b, "float64"), (x, y) => x / y);
  }
  const by = Number(single(right));
  if (by === 0) throw new Failure("division by zero");
  return Number(single(left)) / by;
}

// Python rounds the exact decimal value half to even; NumPy scales a float32, rounds and scales back.
function rounded(value, digits) {
  if (value instanceof Tensor) {
    if (!value.isFloat) return value;
    const type = value.dtype === "float32" ? Math.fround : (each) => each;
    const scale = 10 ** (digits ?? 0);
    return unary(value, (each) => type(toEven(type(each * scale)) / scale));
  }
  if (typeof value === "bigint") return digits === null || digits >= 0 ? value : wrong("digits of at least 0", value);
  if (digits === null) return BigInt(toEven(single(value)));
  if (digits < 0 || digits > 60 || !(Math.abs(value) < 1e21)) return value;
  const [whole, decimals = ""] = Math.abs(value).toFixed(100).split(".");
  const kept = BigInt(whole + decimals.slice(0, digits));
  const rest = decimals.slice(digits);
  const half = "5".padEnd(rest.length, "0");
  const up = rest > half || (rest === half && kept % 2n === 1n);
  const size = Number(`${kept + (up ? 1n : 0n)}e-${digits}`);
  return value < 0 || Object.is(value, -0) ? -size : size;
}

function toEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
