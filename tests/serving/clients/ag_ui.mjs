// Runs an agent once per text, and prints its events, messages and state as JSON.
import { HttpAgent } from "@ag-ui/client";

const [url, forwardedProps, ...texts] = process.argv.slice(2);
const agent = new HttpAgent({ url, threadId: "thread-1" });
const events = [];
let error;
for (const text of texts) {
  agent.addMessage({ id: crypto.randomUUID(), role: "user", content: text });
  try {
    await agent.runAgent(
      { forwardedProps: JSON.parse(forwardedProps) },
      { onEvent: ({ event }) => { events.push(event); } },
    );
  } catch (thrown) {
    error = String(thrown);
  }
}
console.log(JSON.stringify({ events, messages: agent.messages, state: agent.state, error }));
