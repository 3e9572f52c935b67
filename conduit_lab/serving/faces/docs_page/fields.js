// One control per parameter of an endpoint, made from its schema.
import { make } from "./elements.js";
import { boundsOf, choicesOf, typeName } from "./schema.js";

const MAX_RADIOS = 4;
const SCALARS = new Set(["string", "integer", "number", "boolean"]);

// A labelled control. `read()` gives its value, or undefined where it is left empty; it throws an
// error with a sentence for a text that is no value.
export class Field {
  constructor(parameter, facts) {
    this.parameter = parameter;
    this.schema = facts.resolve(parameter.schema);
    this.control = controlOf(this.schema, facts, parameter);
    const { name, required } = parameter;
    const id = `conduit-field-${++count}`;
    const label = make("label", "conduit-form-label", name);
    label.htmlFor = id;
    this.control.input.id = id;
    const kind = make("span", "conduit-form-kind", typeName(parameter.schema, facts));
    const bounds = boundsOf(this.schema);
    const facts_ = [kind, ...(bounds ? [make("span", "conduit-form-kind", ` · ${bounds}`)] : [])];
    const must = required ? [make("span", "conduit-form-kind", " · required")] : [];
    this.problem = make("div", "conduit-form-problem");
    this.problem.id = `${id}-problem`;
    this.problem.setAttribute("role", "alert");
    this.control.input.setAttribute("aria-describedby", this.problem.id);
    this.root = make("div", "conduit-form-field");
    this.root.append(make("div", "conduit-form-head", label, " ", ...facts_, ...must), this.control.root, this.problem);
    if (this.schema.description) this.root.append(make("div", "conduit-form-kind", this.schema.description));
    if (this.schema.default !== undefined && this.schema.default !== null) this.write(this.schema.default);
  }

  read() {
    const value = this.control.read();
    if (value === undefined && this.parameter.required) throw new Error("a value is required");
    return value;
  }

  write(value) {
    this.control.write(value);
    this.say("");
  }

  say(text) {
    this.problem.textContent = text;
    this.control.input.toggleAttribute("aria-invalid", text !== "");
  }
}

let count = 0;

function controlOf(schema, facts, parameter) {
  const choices = choicesOf(schema);
  if (schema["x-file"]) return new FileControl();
  if (choices.length > 0) return new ChoiceControl(choices, parameter.required || schema.default !== undefined, parameter.name);
  if (schema.type === "boolean") return new CheckControl();
  if (schema.type === "integer" || schema.type === "number") return new NumberControl(schema);
  if (schema.type === "string") return new TextControl(schema);
  if (schema.type === "array" && schema["x-dtype"] === undefined && SCALARS.has(facts.resolve(schema.items).type)) {
    return new LinesControl(facts.resolve(schema.items));
  }
  return new JsonControl(schema);
}

class TextControl {
  constructor(schema) {
    const isDay = schema.format === "date";
    this.input = make(isDay ? "input" : "textarea", "conduit-form-input");
    if (isDay) this.input.type = "date";
    else this.input.rows = 1;
    if (schema.format === "date-time") this.input.placeholder = "2026-01-31T12:00:00Z";
    if (schema.maxLength) this.input.maxLength = schema.maxLength;
    this.mayBeEmpty = schema.nullable !== true && schema.default === undefined && !schema.format;
    this.touched = false;
    this.input.addEventListener("input", () => (this.touched = true));
    this.root = this.input;
  }

  read() {
    const { value } = this.input;
    return value === "" && !(this.touched && this.mayBeEmpty) ? undefined : value;
  }

  write(value) {
    this.input.value = value ?? "";
    this.touched = true;
  }
}

class NumberControl {
  constructor(schema) {
    this.input = make("input", "conduit-form-input conduit-form-number");
    this.input.type = "number";
    this.isWhole = schema.type === "integer";
    this.input.step = schema.multipleOf ?? (this.isWhole ? "1" : "any");
    const low = schema.minimum ?? schema.exclusiveMinimum;
    const high = schema.maximum ?? schema.exclusiveMaximum;
    if (low !== undefined) this.input.min = low;
    if (high !== undefined) this.input.max = high;
    this.root = make("div", "conduit-form-row", this.input);
    if (schema.minimum !== undefined && schema.maximum !== undefined) this.addSlider(schema);
  }

  addSlider({ minimum, maximum }) {
    this.slider = make("input", "conduit-form-slider");
    Object.assign(this.slider, { type: "range", min: minimum, max: maximum, tabIndex: -1, ariaHidden: "true" });
    this.slider.step = this.isWhole ? 1 : (maximum - minimum) / 100;
    this.slider.addEventListener("input", () => (this.input.value = this.slider.value));
    this.input.addEventListener("input", () => (this.slider.value = this.input.value));
    this.slider.value = minimum;
    this.root.append(this.slider);
  }

  read() {
    if (this.input.validity.badInput) throw new Error("expected a number");
    if (this.input.value === "") return undefined;
    const value = Number(this.input.value);
    if (this.isWhole && !Number.isInteger(value)) throw new Error("expected a whole number");
    if (this.isWhole && !Number.isSafeInteger(value)) throw new Error("this page takes whole numbers up to 9,007,199,254,740,991");
    if (this.input.validity.rangeUnderflow) throw new Error(`expected at least ${this.input.min}`);
    if (this.input.validity.rangeOverflow) throw new Error(`expected at most ${this.input.max}`);
    return value;
  }

  write(value) {
    this.input.value = value ?? "";
    if (this.slider) this.slider.value = this.input.value;
  }
}

class CheckControl {
  constructor() {
    this.input = make("input", "conduit-form-check");
    this.input.type = "checkbox";
    this.root = this.input;
  }

  read() {
    return this.input.checked;
  }

  write(value) {
    this.input.checked = value === true;
  }
}

class ChoiceControl {
  constructor(choices, isChosen, name) {
    this.choices = choices;
    this.texts = choices.map((each) => (typeof each === "string" ? each : JSON.stringify(each)));
    this.radios = choices.length <= MAX_RADIOS && isChosen ? this.makeRadios(name) : undefined;
    if (this.radios === undefined) this.makeList(isChosen);
  }

  makeRadios(name) {
    this.root = make("div", "conduit-form-choices");
    this.root.setAttribute("role", "radiogroup");
    this.root.setAttribute("aria-label", name);
    this.input = this.root;
    const group = `conduit-choice-${++count}`;
    return this.texts.map((text, place) => {
      const radio = make("input");
      Object.assign(radio, { type: "radio", name: group, checked: place === 0 });
      this.root.append(make("label", "conduit-form-choice", radio, make("span", "", text)));
      return radio;
    });
  }

  makeList(isChosen) {
    this.input = make("select", "conduit-form-input conduit-form-number");
    this.empty = isChosen ? 0 : 1;
    if (!isChosen) this.input.append(make("option", "", "—"));
    for (const text of this.texts) this.input.append(make("option", "", text));
    this.root = this.input;
  }

  read() {
    const place = this.radios ? this.radios.findIndex((each) => each.checked) : this.input.selectedIndex - this.empty;
    return this.choices[place];
  }

  write(value) {
    const place = this.choices.findIndex((each) => each === value);
    if (this.radios) this.radios.forEach((each, at) => (each.checked = at === place));
    else this.input.selectedIndex = place + this.empty;
  }
}

class LinesControl {
  constructor(items) {
    this.items = items;
    this.input = make("textarea", "conduit-form-input");
    this.input.rows = 3;
    this.input.placeholder = "one per line";
    this.root = this.input;
  }

  read() {
    if (this.input.value === "") return undefined;
    return this.input.value.split("\n").filter((line) => line !== "").map((line) => this.item(line));
  }

  item(line) {
    if (this.items.type === "string") return line;
    const value = parsed(line.trim());
    if (typeof value !== (this.items.type === "boolean" ? "boolean" : "number")) throw new Error(`expected a ${this.items.type} per line, got ${line}`);
    return value;
  }

  write(value) {
    this.input.value = Array.isArray(value) ? value.join("\n") : "";
  }
}

class JsonControl {
  constructor(schema) {
    this.input = make("textarea", "conduit-form-input conduit-form-code");
    this.input.rows = schema["x-dtype"] ? 3 : 5;
    this.input.spellcheck = false;
    this.input.placeholder = schema["x-dtype"] ? sample(schema["x-shape"] ?? ["n"]) : schema.type === "array" ? "[ … ]" : "{ … }";
    this.root = this.input;
  }

  read() {
    const text = this.input.value.trim();
    if (text === "") return undefined;
    const value = parsed(text);
    if (value === undefined) throw new Error("expected JSON: text needs quotes, and a list brackets");
    return value;
  }

  write(value) {
    this.input.value = value === undefined ? "" : JSON.stringify(value, undefined, Array.isArray(value) ? undefined : 2);
  }
}

class FileControl {
  constructor() {
    this.input = make("input", "conduit-form-file");
    this.input.type = "file";
    this.kept = undefined;
    this.root = this.input;
  }

  read() {
    return this.input.files[0] ?? this.kept;
  }

  write(value) {
    this.kept = value;
    this.input.value = "";
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sample(axes) {
  const [axis, ...rest] = axes;
  if (axis === undefined) return "0";
  const inner = sample(rest);
  return axis === 1 ? `[${inner}]` : `[${inner}, ${inner}${axis === 2 ? "" : ", …"}]`;
}
