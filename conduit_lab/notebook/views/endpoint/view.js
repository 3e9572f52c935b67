import { element } from "../shared.js";
import { EndpointForm } from "../../../serving/faces/docs_page/form.js";
import { endpointsOf } from "../../../serving/faces/docs_page/schema.js";

// The page side of an endpoint's form; view.py describes the protocol. The form is that of the
// docs page, and its calls run in the kernel.

class EndpointView {
  constructor({ send }) {
    this.send = send;
    this.root = element("div", "conduit-view conduit-endpoint");
    // keys go to the fields: JupyterLab would treat Ctrl-Enter and letters as commands
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.sinks = new Map();
    this.number = 0;
  }

  receive(message) {
    if (message.document !== undefined) this.showForm(message);
    else this.answer(message);
  }

  // An existing form stays, with the user's input.
  showForm({ document, code, is_async: isAsync, base }) {
    if (this.trace !== undefined) return;
    const [facts] = endpointsOf(document);
    const form = new EndpointForm(facts, (call, sink) => this.run(call, sink), { base, code, isAsync });
    this.trace = element("details", "conduit-form-more conduit-endpoint-trace");
    this.trace.hidden = true;
    this.root.replaceChildren(form.root, this.trace);
  }

  run(call, sink) {
    const number = ++this.number;
    this.sinks.set(number, sink);
    this.send({ run: number, call });
    return { stop: () => this.send({ stop: number }) };
  }

  answer({ run, chunks, value, html, count, stopped, error, milliseconds, trace }) {
    const sink = this.sinks.get(run);
    if (sink === undefined) return;
    for (const chunk of chunks ?? []) sink.chunk(chunk);
    if (milliseconds === undefined) return;
    this.sinks.delete(run);
    this.showTrace(trace);
    const figures = { milliseconds };
    if (error !== undefined) sink.failed(error, figures);
    else if (html !== undefined) sink.shown(this.ownView(html), figures);
    else if (count !== undefined) sink.ended({ ...figures, isStopped: stopped });
    else sink.value(value, figures);
  }

  // The static form of an answer or a trace, rendered and escaped by the kernel.
  ownView(html) {
    const shown = element("div");
    shown.innerHTML = html;
    return shown;
  }

  showTrace(html) {
    this.trace.hidden = html === undefined;
    if (html !== undefined) this.trace.replaceChildren(element("summary", "", "trace"), this.ownView(html));
  }
}

export default EndpointView;
