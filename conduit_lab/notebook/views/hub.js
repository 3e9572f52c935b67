// The page's end of the session's single channel; hub.py describes the protocol.
// Every output is static HTML in the notebook's model. While its value is live, the element marked
// with the view's key contains the live view instead, only in the page.

const MARKED = "data-conduit-view";
const RESTARTED = "■ the kernel was restarted";
const GONE = "■ the kernel is gone";
const SAVED = "● running when this was saved";

class PageHub {
  constructor(model) {
    this.model = model;
    this.context = model.widget_manager?.context; // of a notebook; other hosts have none
    this.kernel = model.widget_manager?.kernel;
    this.page = Math.random().toString(36).slice(2);
    this.views = new Map();
    this.hosts = new WeakMap(); // the output of a view, which is detached before its end is reported
    this.observer = new MutationObserver((records) => this.placeAdded(records));
    this.keepFocus = ({ target }) => (this.focused = target);
    this.loseFocus = ({ target }) => setTimeout(() => this.leave(target));
  }

  async open() {
    this.model.on("msg:custom", (content) => this.receive(content));
    this.kernel?.statusChanged?.connect(this.follow, this);
    this.kernel?.disposed?.connect(this.lost, this);
    this.context?.saveState?.connect(this.save, this);
    this.observer.observe(document.body, { childList: true, subtree: true });
    document.addEventListener("focusin", this.keepFocus);
    document.addEventListener("focusout", this.loseFocus);
    await this.context?.ready;
    this.model.send({ page: this.page, open: this.keys() });
  }

  close() {
    this.observer.disconnect();
    document.removeEventListener("focusin", this.keepFocus);
    document.removeEventListener("focusout", this.loseFocus);
    this.kernel?.statusChanged?.disconnect(this.follow, this);
    this.kernel?.disposed?.disconnect(this.lost, this);
    this.context?.saveState?.disconnect(this.save, this);
    this.lose(GONE);
  }

  receive({ views }) {
    for (const [key, messages] of Object.entries(views)) {
      for (const message of messages) {
        if (message.end) this.end(key, message.end);
        else if (message.static) this.write(key, message.static);
        else this.view(key)?.receive(message);
      }
    }
  }

  // The live view with this key, created and placed on its first message.
  view(key) {
    if (!this.views.has(key)) {
      const View = VIEWS[key.slice(0, key.lastIndexOf("-"))];
      if (View === undefined) return undefined;
      const send = (message) => this.model.send({ to: key, message });
      this.views.set(key, new View({ send }));
      for (const place of document.querySelectorAll(`[${MARKED}="${key}"]`)) this.place(place);
    }
    return this.views.get(key);
  }

  // Put a live view into the element marked for it; a second element stays static.
  place(element) {
    const view = this.views.get(element.getAttribute(MARKED));
    if (view === undefined || view.root.parentElement === element) return;
    if (view.root.closest(`[${MARKED}]`)?.isConnected) return;
    element.replaceChildren(view.root);
    this.hosts.set(view, element.closest(".jp-OutputArea-output"));
    view.placed?.();
    if (view.root.contains(this.focused)) this.focused.focus({ preventScroll: true }); // moving it lost the focus
  }

  // An element lost the focus: the user left it, or it was moved in the page.
  leave(element) {
    if (this.focused === element && element.isConnected && document.activeElement !== element) this.focused = undefined;
  }

  // Write the static form below a live view that stays; sequentially.
  async write(key, packed) {
    const before = this.written;
    const unpacked = unpack(packed);
    this.written = unpacked.then(() => before);
    await before;
    const bundle = await unpacked;
    const output = this.output(key);
    if (output && output.data["text/html"] !== bundle["text/html"]) output.setData({ data: bundle });
  }

  // JupyterLab has rendered something, possibly one of our outputs again.
  placeAdded(records) {
    if (this.views.size === 0) return;
    for (const { addedNodes } of records) {
      for (const node of addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        if (node.hasAttribute(MARKED)) this.place(node);
        for (const place of node.querySelectorAll(`[${MARKED}]`)) this.place(place);
      }
    }
  }

  // The value has ended: write its static form into the notebook, keeping the scroll position.
  end(key, bundle) {
    const view = this.views.get(key);
    this.views.delete(key);
    const output = this.output(key);
    const host = view && this.hosts.get(view);
    const top = view?.scrolled?.();
    if (host && top) restoreScroll(host, top);
    view?.ending?.(host);
    if (output) output.setData({ data: bundle });
    view?.close?.();
  }

  // Each output of the notebook with a key, and that key.
  *outputs() {
    for (const cell of this.context?.model?.cells ?? []) {
      for (let place = 0; place < (cell.outputs?.length ?? 0); place += 1) {
        const output = cell.outputs.get(place);
        const key = String(output.data?.["text/html"] ?? "").match(/^<div data-conduit-view="([\w-]+)"/)?.[1];
        if (key) yield [key, output];
      }
    }
  }

  output(key) {
    for (const [found, output] of this.outputs()) if (found === key) return output;
    return undefined;
  }

  keys() {
    return [...this.outputs()].map(([key]) => key);
  }

  // A save during a stream stores the text so far, written before the model is read.
  save(_context, state) {
    if (state !== "started") return;
    for (const [key, output] of this.outputs()) {
      const html = this.views.get(key)?.snapshot?.(SAVED);
      if (html) output.setData({ data: { ...output.data, "text/html": `<div ${MARKED}="${key}">${html}</div>` } });
    }
  }

  follow(_kernel, status) {
    if (status === "restarting" || status === "autorestarting") this.lose(RESTARTED);
    if (status === "dead" || status === "terminating") this.lose(GONE);
  }

  // The session was shut down, which does not change the kernel status.
  lost() {
    this.lose(GONE);
  }

  // No more messages will arrive: the shown elements become static.
  lose(reason) {
    if (this.context?.isDisposed) return; // the notebook was closed; its kernel may still be running
    for (const [key, output] of [...this.outputs()]) {
      const view = this.views.get(key);
      if (view === undefined) continue;
      this.views.delete(key);
      const html = view.snapshot?.(reason) ?? output.data["text/html"].replace(/^<div [^>]*>/, "<div>");
      output.setData({ data: { ...output.data, "text/html": html } });
      view.close?.();
    }
  }
}

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const unzipped = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unzipped).json();
}

// Scroll the box that will appear in `host` to the live one's position.
function restoreScroll(host, top) {
  const restore = () => {
    const box = [...host.querySelectorAll("div")].find((node) => node.scrollHeight > node.clientHeight + 1 && node.style.overflowY === "auto");
    if (!box) return;
    observer.disconnect();
    box.scrollTop = top;
  };
  const observer = new MutationObserver(restore);
  observer.observe(host, { childList: true, subtree: true });
  restore(); // the kernel's own update may have come first
  setTimeout(() => observer.disconnect(), 2_000);
}

export default {
  async initialize({ model }) {
    const hub = new PageHub(model);
    await hub.open();
    return () => hub.close();
  },
};
