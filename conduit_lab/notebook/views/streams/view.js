import { Header, button, element, escapeHtml, staticHeader } from "../shared.js";
import StreamView from "../stream/view.js";

// The page side of several streams side by side; streams_view.py describes the protocol.
// Columns and strips have the styles of clock_strips.py, so that nothing moves at the end.

const BODY = "font-family:var(--jp-ui-font-family,sans-serif);font-size:13px;line-height:20px;font-variant-numeric:tabular-nums";
const QUIET = "font-size:12px;line-height:16px;opacity:.7";
const COLUMN = "flex:1 1 300px;min-width:0;max-width:720px";

class StreamsView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-streams");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Streams side by side");
    this.stopButton = button("Stop all", "Stop every stream", () => this.stop(), "conduit-stop");
    this.clock = element("div");
    this.clock.style.cssText = `${BODY};max-width:960px;margin:4px 0`;
    this.columns = element("div");
    this.columns.style.cssText = "display:flex;flex-wrap:wrap;column-gap:32px;row-gap:12px;margin-top:8px";
    this.note = element("div");
    this.note.style.cssText = `${BODY};max-width:720px;${QUIET};margin:2px 0`;
    this.views = [];
    this.root.append(this.clock, this.columns);
  }

  stop() {
    this.stopButton.disabled = true;
    this.stopButton.textContent = "Stopping";
    this.send({ stop: true });
  }

  placed() {
    for (const view of this.views) view.placed();
  }

  ending(host) {
    for (const view of this.views) view.ending(host);
  }

  close() {
    for (const view of this.views) view.close();
  }

  snapshot(state) {
    if (!this.header) return "";
    const header = staticHeader(this.header.kind, this.header.name, [state, ...this.header.facts.slice(1)]);
    const columns = this.views.map((view) => `<div style="${escapeHtml(COLUMN)}">${view.snapshot(state)}</div>`).join("");
    return `${header}${this.clock.outerHTML}<div style="${escapeHtml(this.columns.style.cssText)}">${columns}</div>`;
  }

  receive(message) {
    if (message.names) this.showClock(message);
    if (message.to !== undefined) this.view(message.to).receive(message.message);
  }

  // The view of one stream, in its column.
  view(place) {
    while (this.views.length <= place) {
      const to = this.views.length;
      const view = new StreamView({ send: (message) => this.send({ to, message }) });
      const column = element("div");
      column.style.cssText = COLUMN;
      column.append(view.root);
      this.columns.append(column);
      this.views.push(view);
    }
    return this.views[place];
  }

  showClock({ names, count, facts, strips, ends, note }) {
    if (!this.header) {
      this.header = new Header("Side by side", `${count} streams`, this.stopButton);
      this.root.prepend(this.header.root);
    }
    this.header.show(facts);
    if (this.header.ended) this.stopButton.style.visibility = "hidden";
    this.view(names.length - 1);
    if (this.clock.children.length !== names.length + 1) this.clock.replaceChildren(...names.map(strip), axis());
    strips.forEach((shares, place) => {
      this.clock.children[place].lastChild.style.background = ground(shares);
    });
    [this.clock.lastChild.firstChild.textContent, this.clock.lastChild.lastChild.textContent] = ends;
    this.note.textContent = note;
    if (note && !this.note.isConnected) this.root.append(this.note);
  }
}

function strip(name) {
  const row = element("div");
  row.style.cssText = "display:flex;column-gap:8px;align-items:center;margin:2px 0";
  const label = element("div", "", name);
  label.style.cssText = "flex:0 0 160px;max-width:160px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap";
  const bar = element("div");
  bar.style.cssText = "flex:1 1 0;height:12px";
  row.append(label, bar);
  return row;
}

function axis() {
  const row = element("div");
  row.style.cssText = `${QUIET};white-space:nowrap;display:flex;justify-content:space-between;padding-left:168px`;
  row.append(element("span"), element("span"));
  return row;
}

// Like strip_ground in clock_strips.py: one gradient, a stop per period.
function ground(shares) {
  const end = (place) => `${((100 * place) / shares.length).toFixed(2)}%`;
  return `linear-gradient(to right,${shares.map((share, place) => `${tint(share)} ${end(place)} ${end(place + 1)}`).join(",")})`;
}

function tint(share) {
  if (share < 0) return "rgba(128,128,128,0)";
  return share ? `rgba(27,134,200,${share})` : "rgba(128,128,128,.2)";
}

export default StreamsView;
