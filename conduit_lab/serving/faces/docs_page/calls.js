// The same call as code: Python, curl and JavaScript. A key is named by its variable, never shown.

const KEY = "CONDUIT_LAB_KEY";

// `code` names the endpoint in a notebook: there, Python calls it itself.
export const LANGUAGES = {
  Python: (call) => (call.code === undefined ? pythonCall(call) : ownCall(call)),
  curl: curlCall,
  JavaScript: scriptCall,
};

function ownCall({ facts, code, isAsync, path, query, body }) {
  const isKeyed = facts.whole === undefined;
  const named = Object.entries({ ...path, ...query, ...(isKeyed ? body : {}) }).map(([name, value]) => `${name}=${pythonOf(value, 1)}`);
  const whole = isKeyed || body === undefined ? [] : [pythonOf(body, 1)];
  const parts = Object.keys(path).length > 0 && whole.length > 0 ? [...named, `${facts.wholeName}=${whole[0]}`] : [...whole, ...named];
  const flat = parts.join(", ");
  const call = flat.length <= 72 ? `${code}(${flat})` : `${code}(\n${parts.map((part) => `    ${part},\n`).join("")})`;
  return isAsync ? `await ${call}` : call;
}

// The URL of a call; a list of scalars is a repeated key, any other list and object JSON.
export function urlOf(base, facts, { path, query }) {
  const filled = facts.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(queryText(path[name] ?? "")));
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    const isRepeated = Array.isArray(value) && value.every((each) => typeof each !== "object");
    return (isRepeated ? value : [value]).map((each) => `${encodeURIComponent(name)}=${encodeURIComponent(queryText(each))}`);
  });
  return base.replace(/\/$/, "") + filled + (pairs.length > 0 ? `?${pairs.join("&")}` : "");
}

function queryText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function pythonCall(call) {
  const { facts, url, body, hasKeys } = call;
  const method = facts.method.toLowerCase();
  const options = [JSON.stringify(url)];
  if (body !== undefined) options.push(`json=${pythonOf(body, 1)}`);
  const headers = isDeclared(call) ? [`"content-type": "application/json"`] : [];
  if (hasKeys) headers.push(`"authorization": f"Bearer {os.environ['${KEY}']}"`);
  if (headers.length > 0) options.push(`headers={${headers.join(", ")}}`);
  const imports = [...(facts.isStream ? ["import json"] : []), ...(hasKeys ? ["import os"] : []), "import httpx"];
  const head = imports.join("\n").replace(/\n?import httpx$/, (text) => (imports.length > 1 ? `\n${text}` : text));
  const lines = (parts) => parts.map((part) => `    ${part},\n`).join("");
  if (!facts.isStream) return `${head}\n\nanswer = httpx.${method}(\n${lines(options)})\nprint(answer.json())`;
  return (
    `${head}\n\nwith httpx.stream(\n${lines([`"${facts.method}"`, ...options, "timeout=None"])}) as answer:\n` +
    `    for line in answer.iter_lines():\n        if line.startswith("data: "):\n            print(json.loads(line[6:]))`
  );
}

function curlCall({ facts, url, body, hasKeys }) {
  const parts = [`curl ${facts.isStream ? "-N " : ""}${quoted(url)}`];
  if (hasKeys) parts.push(`-H "authorization: Bearer $${KEY}"`);
  if (isDeclared({ facts, body })) parts.push(`-X ${facts.method}`, "-H 'content-type: application/json'");
  if (body !== undefined) parts.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

function scriptCall({ facts, url, body, hasKeys }) {
  const headers = [...(facts.method === "GET" ? [] : ['"content-type": "application/json"']), ...(hasKeys ? [`authorization: \`Bearer \${key}\``] : [])];
  const options = [`method: "${facts.method}"`];
  if (headers.length > 0) options.push(`headers: { ${headers.join(", ")} }`);
  if (body !== undefined) options.push(`body: JSON.stringify(${JSON.stringify(body, undefined, 2).replaceAll("\n", "\n  ")})`);
  const call = `const answer = await fetch(${JSON.stringify(url)}, {\n${options.map((each) => `  ${each},\n`).join("")}});`;
  if (!facts.isStream) return `${call}\nconsole.log(await answer.json());`;
  return `${call}\nconst reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();\nfor (let part; !(part = await reader.read()).done; ) console.log(part.value);`;
}

// An empty body is declared as JSON by a header of its own.
function isDeclared({ facts, body }) {
  return body === undefined && facts.method !== "GET";
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// A JSON value as a Python literal; long ones on several lines.
function pythonOf(value, depth) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((each) => pythonOf(each, depth + 1))
    : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${pythonOf(each, depth + 1)}`);
  const [open, close] = isList ? "[]" : "{}";
  const flat = `${open}${parts.join(", ")}${close}`;
  if (flat.length <= 72 || parts.length === 0) return flat;
  const space = "    ".repeat(depth);
  return `${open}\n${parts.map((part) => `${space}    ${part},\n`).join("")}${space}${close}`;
}
