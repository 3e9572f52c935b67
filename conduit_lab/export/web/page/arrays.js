// Convert between lists and arrays as NumPy does.
import { emptyData, Failure, sizeOf, Tensor } from "./values.js";

// Convert a value to an array; as in NumPy, lists of ints become int64, lists of floats float64.
export function arrayOf(value) {
  if (value instanceof Tensor) return value;
  const shape = [];
  const flat = [];
  flatten(value, 0, shape, flat);
  const kinds = new Set(flat.map((each) => typeof each));
  const kind = flat.length === 0 || kinds.has("number") ? "float64" : kinds.has("bigint") ? "int64" : "bool";
  const data = emptyData(kind, flat.length);
  flat.forEach((each, place) => (data[place] = kind === "float64" ? Number(each) : kind === "int64" ? inInt64(BigInt(each)) : each));
  return new Tensor(kind, shape, data);
}

function inInt64(value) {
  if (value !== BigInt.asIntN(64, value)) throw new Failure(`got ${value}, which int64 cannot hold`);
  return value;
}

function flatten(value, depth, shape, flat) {
  const each = value instanceof Tensor && value.shape.length > 0 ? toList(value) : value;
  if (Array.isArray(each)) {
    if (shape.length === depth) shape.push(each.length);
    if (shape[depth] !== each.length) throw new Failure("got lists of unequal length");
    for (const item of each) flatten(item, depth + 1, shape, flat);
    return;
  }
  if (shape.length !== depth) throw new Failure("got lists of unequal length");
  const scalar = each instanceof Tensor ? each.at(0) : each;
  if (!["number", "bigint", "boolean"].includes(typeof scalar)) throw new Failure(`expected numbers, got ${nameOf(scalar)}`);
  flat.push(scalar);
}

export function nameOf(value) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return "a text";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Tensor) return String(value);
  return typeof value === "bigint" || typeof value === "number" ? "a number" : value instanceof Map ? "an object" : typeof value;
}

export function cast(tensor, dtype) {
  if (tensor.dtype === dtype) return tensor;
  const data = emptyData(dtype, tensor.data.length);
  for (let place = 0; place < data.length; place += 1) {
    const value = tensor.data[place];
    if (dtype === "int64") data[place] = typeof value === "bigint" ? value : BigInt(Math.trunc(Number(value)));
    else if (dtype === "bool") data[place] = Number(value) === 0 ? 0 : 1;
    else data[place] = Number(value);
  }
  return new Tensor(dtype, tensor.shape, data);
}

export function toList(tensor) {
  if (tensor.shape.length === 0) return tensor.at(0);
  const found = [];
  for (let place = 0; place < tensor.shape[0]; place += 1) found.push(toList(tensor.row(place)));
  return found;
}

export function tensorOf({ dtype, shape, data }) {
  const made = emptyData(dtype, sizeOf(shape));
  data.forEach((each, place) => (made[place] = dtype === "int64" ? BigInt(each) : each === null ? NaN : Number(each)));
  return new Tensor(dtype, shape, made);
}
