// Run the program of one endpoint: arguments from the body, steps, answer.
import { arrayOf, cast, nameOf, tensorOf } from "./arrays.js";
import { OPERATIONS } from "./operations.js";
import { Failure } from "./values.js";

const PLAIN = new Set(["do", "name", "models", "weights", "dtype", "digits"]);

export async function run(program, given, models) {
  const values = { arguments: argumentsOf(program, given), steps: [] };
  for (const step of program.steps) {
    const inputs = Object.fromEntries(Object.entries(step).map(([name, each]) => [name, PLAIN.has(name) ? each : evaluate(each, values)]));
    values.steps.push(step.do === "model" ? await firstAnswer(step.models, inputs.of, models) : OPERATIONS[step.do](inputs));
  }
  return evaluate(program.answer, values);
}

// The answer of the first model that succeeds; invalid input is raised immediately.
async function firstAnswer(names, value, models) {
  let reason;
  for (const name of names) {
    try {
      return await models[name].predict(value);
    } catch (error) {
      if (error instanceof Failure) throw error;
      reason = error;
    }
  }
  throw reason;
}

function evaluate(expression, values) {
  const [[kind, value]] = Object.entries(expression);
  if (kind === "step") return values.steps[value];
  if (kind === "argument") return values.arguments[value];
  if (kind === "int") return BigInt(value);
  if (kind === "float") return value ?? NaN;
  if (kind === "list") return value.map((each) => evaluate(each, values));
  if (kind === "object") return new Map(value.map(([key, each]) => [key, evaluate(each, values)]));
  return kind === "array" ? tensorOf(value) : value;
}

// `given` has the values of the path, the query and the body: Maps of JSON values, or a whole body.
function argumentsOf({ parameters }, { path, query, body }) {
  const found = {};
  const isKeyed = parameters.some(({ place }) => place === "body");
  if (isKeyed && !(body instanceof Map)) throw new Failure(`the body expects an object with ${parameters.map(({ name }) => name).join(", ")}, got ${nameOf(body)}`);
  const places = { path, query, body };
  for (const each of parameters) {
    const { name, place, schema } = each;
    const value = place === "whole" ? body : places[place].get(name);
    if (value !== undefined) found[name] = checked(name, schema, value);
    else if (each.default !== undefined) found[name] = evaluate(each.default, {});
    else throw new Failure(`${name}: a value is required`);
  }
  const unknown = isKeyed ? [...body.keys()].filter((key) => !parameters.some(({ name }) => name === key)) : [];
  if (unknown.length > 0) throw new Failure(`${unknown[0]}: there is no parameter with this name`);
  return found;
}

const TYPES = {
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  integer: (value) => typeof value === "bigint" || Number.isInteger(value),
  number: (value) => typeof value === "bigint" || typeof value === "number",
  array: (value) => Array.isArray(value),
  object: (value) => value instanceof Map,
};

// The argument from a JSON value, validated by the subset of JSON Schema that exported parameters use.
function checked(name, schema, value) {
  const wrong = (expected) => {
    throw new Failure(`${name}: expected ${expected}, got ${nameOf(value)}`);
  };
  if (schema["x-dtype"] !== undefined) return arrayArgument(name, schema, value);
  if (schema.type !== undefined && !TYPES[schema.type](value)) wrong(schema.type);
  const choices = schema.const === undefined ? schema.enum : [schema.const];
  if (choices !== undefined && !choices.some((each) => each === (typeof value === "bigint" ? Number(value) : value))) wrong(`one of ${choices.join(", ")}`);
  if (value < schema.minimum || value > schema.maximum || value <= schema.exclusiveMinimum || value >= schema.exclusiveMaximum) wrong("a number within its bounds");
  const count = typeof value === "string" ? [...value].length : Array.isArray(value) ? value.length : undefined;
  const [least, most] = typeof value === "string" ? [schema.minLength, schema.maxLength] : [schema.minItems, schema.maxItems];
  if (count < least || count > most) wrong(`a length from ${least ?? 0} to ${most ?? "any"}`);
  if (schema.type === "number") return Number(value);
  if (schema.type === "integer") return BigInt(value);
  return Array.isArray(value) && schema.items ? value.map((each) => checked(name, schema.items, each)) : value;
}

function arrayArgument(name, schema, value) {
  const [dtype, shape] = [schema["x-dtype"], schema["x-shape"]];
  const array = arrayOf(value);
  const fits = shape === undefined || (shape.length === array.shape.length && shape.every((axis, place) => typeof axis === "string" || axis === array.shape[place]));
  if (!fits || (array.isFloat && !dtype.startsWith("float"))) throw new Failure(`${name}: expected ${dtype} [${(shape ?? ["…"]).join(", ")}], got ${array}`);
  return cast(array, dtype);
}
