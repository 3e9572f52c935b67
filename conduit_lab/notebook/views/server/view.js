import { element, labelled, link, more, staticHeader, table } from "../shared.js";

// The page side of a server's dashboard; dashboard.py describes the protocol.

class ServerView {
  constructor() {
    this.root = element("div", "conduit-view conduit-server conduit-tables");
    this.root.setAttribute("role", "group");
    this.header = element("div", "conduit-header");
    this.title = element("div", "conduit-title");
    this.header.append(this.title);
    this.headline = element("div", "conduit-server-headline");
    this.strip = labelled(element("div", "conduit-server-strip"), "img", "");
    this.caption = element("div", "conduit-server-note");
    this.load = element("div", "conduit-server-note");
    this.columns = element("div", "conduit-server-columns");
    this.root.append(this.header, this.headline, this.strip, this.caption, this.load, this.columns);
    this.groups = "";
  }

  receive(message) {
    this.message = message;
    this.root.setAttribute("aria-label", `Server ${message.url}`);
    this.showTitle(message);
    this.headline.textContent = message.headline;
    this.showStrip(message);
    this.load.textContent = message.load;
    this.showGroups(message);
  }

  showTitle({ url, facts }) {
    const quiet = (text) => element("span", "conduit-quiet", text);
    const [state = "", ...rest] = facts;
    const [mark, ...words] = state.split(" ");
    const sign = element("span", "conduit-mark", mark);
    sign.setAttribute("aria-hidden", "true");
    sign.dataset.state = words.join(" ");
    this.title.replaceChildren(quiet("Server "), link(url), quiet(" · "), sign, quiet(` ${[words.join(" "), ...rest].join(" · ")}`));
  }

  // The bars stay, so only their height changes; the space is reserved before the first request.
  showStrip({ per_second: counts, caption }) {
    while (this.strip.children.length < counts.length) this.strip.append(element("div"));
    const most = Math.max(1, ...counts);
    counts.forEach((number, place) => {
      this.strip.children[place].style.height = `${(100 * number) / most}%`;
    });
    this.strip.setAttribute("aria-label", caption);
    this.caption.textContent = caption;
  }

  // Unchanged tables stay, which preserves text selections.
  showGroups({ groups }) {
    const now = JSON.stringify(groups);
    if (now === this.groups) return;
    this.groups = now;
    const shown = groups.map((tables) => {
      const group = element("div", "conduit-server-group");
      for (const each of tables) group.append(table(each), ...more(each.more));
      return group;
    });
    this.columns.replaceChildren(...shown);
  }

  snapshot(state) {
    if (this.message === undefined) return undefined;
    const { url, facts, html } = this.message;
    return staticHeader("Server", url, [state, ...facts.slice(1)]) + html;
  }
}

export default ServerView;
