// Endpoints as an OpenAPI document describes them, and their schemas in words.

export function endpointsOf(document) {
  const found = [];
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const facts = operation["x-conduit-endpoint"];
      if (facts === undefined || facts.method !== method.toUpperCase()) continue;
      found.push(new EndpointFacts(document, path, method.toUpperCase(), operation, facts));
    }
  }
  return found;
}

class EndpointFacts {
  constructor(document, path, method, operation, facts) {
    this.document = document;
    this.path = path;
    this.method = method;
    this.id = operation.operationId;
    this.name = facts.name;
    this.isStream = facts.shape === "stream";
    this.summary = operation.summary ?? "";
    this.description = operation.description ?? "";
    const content = operation.requestBody?.content?.["application/json"];
    this.examples = operation["x-conduit-examples"] ?? [];
    this.parameters = (operation.parameters ?? []).map((each) => this.inUrl(each));
    this.whole = undefined; // the schema of a body that is one value
    this.wholeName = facts.whole ?? "body"; // of its parameter
    this.readBody(content?.schema, operation.requestBody?.required ?? false);
  }

  inUrl({ name, in: place, required = false, schema, content }) {
    const json = content?.["application/json"]?.schema;
    return { name, place, required, schema: schema ?? json, isJson: json !== undefined };
  }

  // An object that the app made of parameters forbids other keys; any other body is one value.
  readBody(schema, required) {
    if (schema === undefined) return;
    if (schema.additionalProperties === false && schema.properties !== undefined && schema.$ref === undefined) {
      for (const [name, each] of Object.entries(schema.properties)) {
        this.parameters.push({ name, place: "body", required: (schema.required ?? []).includes(name), schema: each });
      }
      return;
    }
    this.whole = schema;
    const inner = this.resolve(schema);
    const fields = Object.entries(inner.properties ?? {});
    for (const [name, each] of fields) {
      this.parameters.push({ name, place: "body", required: (inner.required ?? []).includes(name), schema: each });
    }
    if (fields.length === 0) this.parameters.push({ name: this.wholeName, place: "whole", required, schema });
  }

  // The schema without references, and without null; `nullable` says whether null fits.
  resolve(schema, depth = 0) {
    if (schema?.$ref !== undefined && depth < 20) {
      const name = schema.$ref.split("/").pop();
      const { $ref, ...beside } = schema;
      return this.resolve({ ...this.document.components.schemas[name], ...beside }, depth + 1);
    }
    const choices = schema?.anyOf;
    if (choices === undefined) return schema ?? {};
    const kept = choices.filter((each) => each.type !== "null");
    const { anyOf, ...beside } = schema;
    const nullable = kept.length < choices.length;
    if (kept.length === 1) return { ...this.resolve(kept[0], depth + 1), ...beside, nullable };
    return { ...beside, anyOf: kept, nullable };
  }
}

export function choicesOf(schema) {
  if (schema.const !== undefined) return [schema.const];
  return schema.enum ?? [];
}

// The type in the words of a reader: "text", "list of integers", "float32 [n, 64]".
export function typeName(schema, facts) {
  const each = facts.resolve(schema);
  if (each["x-file"]) return "file";
  if (each["x-dtype"]) return `${each["x-dtype"]} [${(each["x-shape"] ?? ["…"]).join(", ")}]`;
  if (choicesOf(each).length > 0) return "choice";
  if (each.anyOf) return each.anyOf.map((one) => typeName(one, facts)).join(" or ");
  if (each.type === "array") {
    return each.items === undefined || Object.keys(each.items).length === 0 ? "list" : `list of ${typeName(each.items, facts)}`;
  }
  const names = { string: each.format ?? "text", integer: "integer", number: "number", boolean: "true or false", object: "object" };
  return names[each.type] ?? "any JSON";
}

// The bounds of a value, such as "1 – 10" or "at most 40 characters".
export function boundsOf(schema) {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (schema["x-dtype"] === undefined && low !== undefined && high !== undefined) return `${low} – ${high}`;
  if (schema["x-dtype"] === undefined && low !== undefined) return schema.minimum !== undefined ? `at least ${low}` : `above ${low}`;
  if (schema["x-dtype"] === undefined && high !== undefined) return schema.maximum !== undefined ? `at most ${high}` : `below ${high}`;
  if (schema.pattern !== undefined) return schema.pattern;
  if (schema.maxLength !== undefined) return `at most ${schema.maxLength} characters`;
  if (schema.maxItems !== undefined && schema["x-dtype"] === undefined) return `at most ${schema.maxItems} items`;
  return "";
}
