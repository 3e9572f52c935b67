import { button, element, link, more, staticHeader, table } from "../shared.js";

// The page side of a session at a glance; view.py describes the protocol.

class SessionView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-session conduit-tables");
    this.root.setAttribute("role", "group");
    this.header = element("div", "conduit-header");
    this.title = element("div", "conduit-title");
    this.header.append(this.title);
    this.headline = element("div", "conduit-session-headline");
    this.columns = element("div", "conduit-session-columns");
    this.streams = new StreamTable((key) => this.send({ stop: key }));
    this.footer = element("div");
    this.root.append(this.header, this.headline, this.columns, this.footer);
    this.groups = "";
  }

  receive(message) {
    this.message = message;
    this.root.setAttribute("aria-label", `${message.kind} ${message.name}`);
    this.showTitle(message);
    this.headline.textContent = message.headline;
    this.headline.hidden = message.headline === "";
    this.showGroups(message);
    this.streams.show(message.streams, message.stream_columns, message.more_streams);
    this.footer.replaceChildren();
    if (message.missing.length > 0) {
      this.footer.append(element("div", "conduit-session-note", message.note), element("pre", "", message.missing.join("\n")));
    }
  }

  showTitle({ kind, name, facts, urls }) {
    const quiet = (text) => element("span", "conduit-quiet", text);
    this.title.replaceChildren(quiet(`${kind} `), element("b", "", name), quiet(facts.map((fact) => ` · ${fact}`).join("")));
    for (const url of urls) {
      this.title.append(quiet(" · ● "), link(url));
    }
  }

  // Unchanged tables stay, which preserves text selections.
  showGroups({ groups }) {
    const now = JSON.stringify(groups);
    if (now === this.groups) return;
    this.groups = now;
    const shown = groups.map((tables, place) => {
      const group = element("div", "conduit-session-group");
      for (const each of tables) group.append(table(each), ...more(each.more));
      if (place === 0) group.append(this.streams.root);
      return group;
    });
    this.columns.replaceChildren(...shown);
  }

  // A saved page, or one without its kernel, has no streams and no servers.
  snapshot(state) {
    if (this.message === undefined) return undefined;
    const { kind, name, facts, streams, urls, html } = this.message;
    const alive = streams.length > 0 || urls.length > 0;
    const states = state.startsWith("■") || alive ? [state] : [];
    const kept = facts.filter((fact) => !fact.includes("running stream"));
    return staticHeader(kind, name, [...kept, ...states]) + html;
  }
}

// The running streams. A row stays as long as its stream, so that a click never misses its button.
class StreamTable {
  constructor(stop) {
    this.stop = stop;
    this.root = element("div");
    this.rows = new Map();
  }

  show(streams, columns, left) {
    if (this.body === undefined) {
      const head = table({ columns: [...columns, ""], numeric: [false, false, true, true, true, false], rows: [] });
      this.body = head.lastChild;
      this.left = element("div", "conduit-quiet");
      this.root.append(head, this.left);
    }
    const keys = new Set(streams.map(({ key }) => key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    for (const { key, cells } of streams) {
      const row = this.rows.get(key) ?? this.add(key, cells);
      cells.forEach((text, place) => {
        if (row.children[place].textContent !== text) row.children[place].textContent = text;
      });
    }
    this.left.textContent = left;
    this.root.hidden = streams.length === 0;
  }

  add(key, cells) {
    const row = element("tr");
    cells.forEach((text, place) => row.append(element("td", place > 1 ? "conduit-table-number" : "", text)));
    const stop = button("Stop", `Stop the stream ${cells[0]}`, () => {
      stop.disabled = true;
      stop.textContent = "Stopping";
      this.stop(key);
    }, "conduit-stop");
    const last = element("td");
    last.append(stop);
    row.append(last);
    this.body.append(row);
    this.rows.set(key, row);
    return row;
  }
}

export default SessionView;
