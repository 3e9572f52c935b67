import { element, labelled } from "../shared.js";

export function part(tag, name, text) {
  return element(tag, `conduit-explorer-${name}`, text);
}

export function listed(row) {
  const item = labelled(element("div"), "listitem");
  item.append(row);
  return item;
}

export function counted(number, one, several) {
  return `${number.toLocaleString("en").replaceAll(",", "\u2009")} ${number === 1 ? one : several}`;
}

// spans count code points, as in Python
export function marked(text, spans) {
  const characters = Array.from(text);
  const parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    parts.push(characters.slice(at, start).join(""), part("mark", "mark", characters.slice(start, end).join("")));
    at = end;
  }
  parts.push(characters.slice(at).join(""));
  return parts;
}

export function encode(places) {
  return btoa(Array.from(new Uint8Array(places.buffer), (byte) => String.fromCharCode(byte)).join(""));
}
