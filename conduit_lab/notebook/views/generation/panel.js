import { button, element } from "../shared.js";
import { probabilityText } from "./column.js";

// The alternatives of one token as bars, and a field for custom text.

const SHOWN = 10;

export class AlternativesPanel {
  constructor(text, { onPick, onClose }) {
    this.onPick = onPick;
    this.root = element("div", "conduit-generation-panel");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Alternatives of ${visible(text)}`);
    const head = element("div", "conduit-header");
    const title = element("div", "conduit-title");
    title.append(element("span", "conduit-quiet", "instead of "), element("b", "conduit-code", visible(text)), legend());
    head.append(title, button("×", "Close (Esc)", onClose));
    this.rows = element("div", "conduit-generation-rows");
    this.rows.append(element("div", "conduit-quiet", "…"));
    this.problem = element("div", "conduit-generation-problem");
    this.problem.setAttribute("role", "alert");
    this.root.append(head, this.rows, this.field(), this.problem);
  }

  field() {
    const field = element("div", "conduit-generation-form");
    this.input = element("input", "conduit-generation-input");
    this.input.placeholder = "type what comes instead";
    this.input.setAttribute("aria-label", "Type what comes instead");
    this.input.addEventListener("keydown", ({ key, isComposing }) => {
      if (key === "Enter" && !isComposing) this.pickTyped(); // JupyterLab prevents form submission
    });
    field.append(this.input, button("Branch", "Go on from this text (Enter)", () => this.pickTyped()));
    return field;
  }

  pickTyped() {
    if (this.input.value !== "") this.pick(this.input.value);
  }

  pick(token) {
    this.problem.textContent = "";
    this.onPick(token);
  }

  fail(sentence) {
    this.problem.textContent = sentence;
    if (this.rows.firstChild?.textContent === "…") this.rows.replaceChildren();
  }

  // `rows` are [id, text, probability, adjusted, cut]; `chosen` is the ID of the current token.
  show(chosen, rows) {
    const made = rows.map((row) => this.row(row, row[0] === chosen));
    const kept = rows.flatMap((row, index) => (index < SHOWN || row[0] === chosen ? [made[index]] : []));
    const rest = made.length - kept.length;
    const more = button(`${rest} more`, "Show all alternatives", () => this.rows.replaceChildren(...made), "conduit-generation-more");
    this.rows.replaceChildren(...kept, ...(rest > 0 ? [more] : []));
    this.root.scrollIntoView({ block: "nearest" });
  }

  row([id, text, probability, adjusted, cut], chosen) {
    const row = element("button", "conduit-generation-row");
    row.type = "button";
    const note = cut ? `cut by ${cut}` : probabilityText(adjusted);
    const stands = chosen ? ", stands in the text" : "";
    row.setAttribute("aria-label", `${visible(text)}, probability ${probabilityText(probability)}, ${cut ? note : `sampled with ${note}`}${stands}`);
    row.title = chosen ? "stands in the text" : `Go on with ${visible(text)}`;
    row.disabled = chosen;
    row.classList.toggle("conduit-generation-cut", Boolean(cut));
    row.classList.toggle("conduit-generation-chosen", chosen);
    const bars = element("span", "conduit-generation-bars");
    bars.append(bar(probability, "raw"), bar(adjusted, "adjusted"));
    row.append(
      element("span", "conduit-generation-token conduit-code", visible(text)),
      bars,
      element("span", "conduit-generation-raw", probabilityText(probability)),
      element("span", "conduit-generation-adjusted", note),
    );
    row.addEventListener("click", () => this.pick(id));
    return row;
  }
}

function bar(share, kind) {
  const made = element("span", `conduit-generation-bar conduit-generation-${kind}-bar`);
  made.style.width = `${(100 * share).toFixed(1)}%`;
  return made;
}

function legend() {
  const made = element("span", "conduit-generation-legend conduit-quiet");
  for (const [kind, label] of [["raw", "probability"], ["adjusted", "after the sampling options"]]) {
    made.append(element("span", `conduit-generation-swatch conduit-generation-${kind}-bar`), label);
  }
  return made;
}

// A token with visible spaces and line breaks.
export function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";
}
