import { make, plural } from "./elements.js";
import { EndpointForm } from "./form.js";
import { endpointsOf } from "./schema.js";

// The page of an app: its title, a list of its endpoints, and the form of the chosen one.
//
// `run(facts, call, sink)` makes a call of an endpoint, `about` are elements at the right of the title
// and `options` those of each `EndpointForm`.
export class Page {
  constructor(specification, { run, about, options }) {
    Object.assign(this, { run, options });
    this.endpoints = endpointsOf(specification);
    this.forms = new Map();
    const { title } = specification.info;
    document.title = title;
    const head = make("header", "page-head", make("h1", "", title), make("span", "conduit-form-kind", plural(this.endpoints.length, "endpoint")));
    head.append(make("span", "page-space"), ...about);
    this.links = this.endpoints.map((facts) => this.link(facts));
    this.place = make("main", "page-main");
    const list = make("nav", "page-list", ...this.links);
    list.setAttribute("aria-label", "endpoints");
    document.getElementById("page").replaceChildren(head, make("div", "page-body", list, this.place));
    addEventListener("hashchange", () => this.show());
    this.show();
  }

  link({ id, method, path, isStream }) {
    const link = make("a", "", make("span", "conduit-form-method", isStream ? "STREAM" : method), " ", make("span", "page-path", path));
    link.href = `#${encodeURIComponent(id)}`;
    return link;
  }

  show() {
    const id = decodeURIComponent(location.hash.slice(1));
    const chosen = this.endpoints.find((each) => each.id === id) ?? this.endpoints[0];
    if (chosen === undefined) {
      this.place.replaceChildren(make("p", "conduit-form-kind", "This app has no endpoints yet."));
      return;
    }
    if (!this.forms.has(chosen.id)) this.forms.set(chosen.id, new EndpointForm(chosen, (call, sink) => this.run(chosen, call, sink), this.options));
    this.place.replaceChildren(this.forms.get(chosen.id).root);
    this.links.forEach((link, place) => (this.endpoints[place] === chosen ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current")));
  }
}
