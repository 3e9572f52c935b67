// Elements of the page. Texts become text nodes: nothing that an app or a model says is HTML.

export function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function makeButton(text, onClick, className = "") {
  const node = make("button", `conduit-form-button ${className}`.trim(), text);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
}

export function milliseconds(value) {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return value < 1000 ? `${value.toFixed(digits)} ms` : `${(value / 1000).toPrecision(3)} s`;
}

export function byteCount(count) {
  if (count < 1024) return `${count} B`;
  return count < 1024 ** 2 ? `${(count / 1024).toPrecision(3)} KB` : `${(count / 1024 ** 2).toPrecision(3)} MB`;
}

export function plural(count, noun) {
  return `${count.toLocaleString("en").replaceAll(",", " ")} ${noun}${count === 1 ? "" : "s"}`;
}
