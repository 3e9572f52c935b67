"""A served app with tiny models, and the clients that people have, over real sockets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit_lab import App, Rag, VectorStore
from tests.models.generation.writers import DECODERS, copy
from tests.models.text import rerankers

QUESTION = "How long does a refund take?"
PASSAGE = "A refund takes five days. It goes to the card that paid."
WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
# short, for a context of 256 tokens
TOOL_TEMPLATE = """\
{% for tool in tools or [] %}{{ tool.function.name }} <tool_call>{% endfor %}
{% for m in messages %}{{ m.role }}: {{ m.content or m.tool_calls[0].function.arguments | tojson }}
{% endfor %}"""


class Quoter:
    """A generator that answers with the first sentence of its passages."""

    name = "quoter"
    context = 1000

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        return context[0].partition(".")[0] + ". Ask again."

    def count_tokens(
        self, prompt: str = "", *, query: str = "", context: Sequence[str] | None = None
    ) -> int:
        return len((prompt + query + " ".join(context or ())).split())


def make_desk(root: Path, *protocols: str) -> App:
    """Return an app with a chat model, one that takes tools, one without a template, and a Rag."""
    desk = App("desk", root=root, protocols=protocols)
    tools = copy("llama", root / "tools")
    (tools / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    desk.load_model(DECODERS / "llama", name="chat", device="cpu")
    desk.load_model(tools, name="tooled", device="cpu")
    plain = copy("gpt2", root / "plain")
    (plain / "chat_template.jinja").unlink()
    desk.load_model(plain, name="plain", device="cpu")
    desk.load_model(rerankers.folder(root / "overlap"), name="overlap", device="cpu")
    store = VectorStore(2, name="handbook")
    store.add("refunds#0", [1, 0], {"title": "Refunds"}, PASSAGE)
    desk.rag("/rag/query", Rag(store, Quoter(), mode="lexical"))
    return desk
