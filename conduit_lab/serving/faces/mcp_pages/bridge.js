// The page's side of MCP Apps (revision 2026-01-26): JSON-RPC with the host by postMessage.
const host = (() => {
  const pending = new Map();
  const listeners = {};
  let number = 0;
  const post = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const request = (method, params) =>
    new Promise((resolve, reject) => {
      number += 1;
      pending.set(number, { resolve, reject });
      post({ id: number, method, params });
    });
  const notify = (method, params = {}) => post({ method, params });

  window.addEventListener("message", (event) => {
    if (event.source !== window.parent) return;
    const message = event.data;
    if (!message || message.jsonrpc !== "2.0") return;
    if (message.method === undefined) {
      const waiting = pending.get(message.id);
      if (waiting === undefined) return;
      pending.delete(message.id);
      if (message.error) waiting.reject(new Error(message.error.message));
      else waiting.resolve(message.result);
    } else if (message.id !== undefined) {
      post({ id: message.id, result: {} }); // ping and ui/resource-teardown
    } else {
      const listener = listeners[message.method];
      if (listener) listener(message.params ?? {});
    }
  });

  const follow = (context) => {
    if (context?.theme) document.documentElement.style.colorScheme = context.theme;
    for (const [name, value] of Object.entries(context?.styles?.variables ?? {})) {
      if (value !== undefined) document.documentElement.style.setProperty(name, value);
    }
  };

  return {
    on: (name, listener) => {
      listeners[`ui/notifications/${name}`] = listener;
    },
    call: (name, args) => request("tools/call", { name, arguments: args }),
    start: async (name) => {
      listeners["ui/notifications/host-context-changed"] = follow;
      const answer = await request("ui/initialize", {
        protocolVersion: "2026-01-26",
        appInfo: { name, version: "1" },
        appCapabilities: {},
      });
      follow(answer.hostContext);
      notify("ui/notifications/initialized");
      const size = () =>
        notify("ui/notifications/size-changed", {
          height: Math.ceil(document.documentElement.getBoundingClientRect().height),
        });
      new ResizeObserver(size).observe(document.documentElement);
      return answer;
    },
  };
})();
