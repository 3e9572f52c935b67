// Sends each text to a chat as `useChat` does, and prints the chat as JSON.
import { AbstractChat, DefaultChatTransport } from "ai";

const [api, fields, ...texts] = process.argv.slice(2);

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, structuredClone(message));
  };
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options) {
    super({ ...options, state: new State() });
  }
}

const data = [];
const finished = [];
const chat = new Chat({
  transport: new DefaultChatTransport({ api, body: JSON.parse(fields) }),
  onData: (part) => data.push(part),
  onFinish: ({ finishReason, isError }) => finished.push({ finishReason, isError }),
});
for (const text of texts) await chat.sendMessage({ text });
console.log(JSON.stringify({
  messages: chat.messages, status: chat.status, error: chat.error?.message, data, finished,
}));
