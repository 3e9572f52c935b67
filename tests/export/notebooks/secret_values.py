"""Secrets: in every place of a session that an export might write."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

# in the form of keys of a service; none of them is one
_KEY = "sk-" + "not0a1real2key3" * 2
_TOKEN = "ghp_" + "notArealToken0123" * 2 + "ab"
_WORD = "correct-horse-battery"
_REFUSED = r"(?i)secret"


def _notebook(name: str, cells: str, key: str = _KEY, **options: object) -> Notebook:
    return Notebook(
        name,
        cells.replace("KEY", key),
        asks=('POST /ask {"x": 2}',),
        refused=_REFUSED,
        secrets=(key,),
        **options,  # type: ignore[arg-type]
    )


NOTEBOOKS = (
    _notebook(
        "a key in a variable",
        """
        client_id = "KEY"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(client_id) + x
        ask(1)
        """,
    ),
    _notebook(
        "a key in a default",
        """
        def call(x, auth="KEY"):
            return len(auth) + x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return call(x)
        ask(1)
        """,
    ),
    _notebook(
        "a key in a body",
        """
        @lab.post("/ask")
        def ask(x: int):
            header = {"authorization": "Bearer KEY"}
            return len(header) + x
        ask(1)
        """,
    ),
    _notebook(
        "a key in a recorded payload",
        """
        @lab.post("/ask")
        def ask(x: int, note: str = ""):
            return x
        ask(1, note="use KEY")
        """,
    ),
    _notebook(
        "a key in a recorded answer",
        """
        import base64
        PARTS = ["KEY"[:9], "KEY"[9:]]
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return "".join(PARTS) * x
        ask(1)
        """,
    ),
    _notebook(
        "a key in a comment above a function",
        """
        # my key for now: KEY
        @lab.post("/ask")
        def ask(x: int):
            return x
        ask(1)
        """,
    ),
    _notebook(
        "a key in a comment beside a constant",
        """
        LIMIT = 3  # was: token KEY
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, LIMIT)
        ask(1)
        """,
    ),
    _notebook(
        "a password in a dict",
        """
        SETTINGS = {"user": "ada", "password": "KEY"}
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(SETTINGS["password"]) + x
        ask(1)
        """,
        _WORD,
    ),
    _notebook(
        "a password in a URL",
        """
        DATABASE = "postgresql://ada:KEY@db.example.org/shop"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [DATABASE.partition(":")[0], x]
        ask(1)
        """,
        _WORD,
    ),
    _notebook(
        "a token set by %env and written down again",
        """
        %env SHOP_API_TOKEN=KEY
        # %%
        import os
        header = "Bearer " + os.environ["SHOP_API_TOKEN"]
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(header) + x
        ask(1)
        """,
        _WORD,
    ),
    _notebook(
        "a key in an attribute of a class",
        """
        class Client:
            secret_key = "KEY"
            def call(self, x):
                return x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return Client().call(x)
        ask(1)
        """,
        _WORD,
    ),
    _notebook(
        "a key as an argument",
        """
        class Client:
            def __init__(self, url, api_key):
                self.url, self.api_key = url, api_key
        client = Client("https://example.org", api_key="KEY")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [client.url, x]
        ask(1)
        """,
        _WORD,
    ),
    _notebook(
        "a token in a module of the project",
        """
        import shop_client
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop_client.call(x)
        ask(1)
        """,
        _TOKEN,
        files={
            "shop_client.py": f"""
            AUTH = "{_TOKEN}"


            def call(x):
                return x + len(AUTH)
            """
        },
    ),
    _notebook(
        "a key in the data beside a package",
        """
        import shop
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop.VALUE + x
        ask(1)
        """,
        files={"shop/__init__.py": "VALUE = 3\n", "shop/settings.json": f'{{"auth": "{_KEY}"}}\n'},
    ),
    _notebook(
        "a key in a file of the project without a suffix",
        """
        import shop
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shop.VALUE + x
        ask(1)
        """,
        files={"shop/__init__.py": "VALUE = 3\n", "shop/credentials": f"auth = {_KEY}\n"},
    ),
    _notebook(
        "a key in an entry of a store",
        """
        notes = lab.vector_store("notes", dimension=2)
        notes.add("a", [1, 0], {"by": "ada"}, "the key is KEY")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [hit.id for hit in notes.search([x, 1], top_k=1)]
        ask(1)
        """,
    ),
    _notebook(
        "a key in the card of a model",
        """
        embedder = lab.load_model("models/embedder")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(embedder.encode("kettle")) + x
        ask(1)
        """,
        files={"models/embedder/README.md": f"# Kettles\n\nDownload it with {_KEY}.\n"},
        embedder=True,
    ),
    _notebook(
        "a key in an array of texts",
        """
        import numpy as np
        names = np.array(["ada", "KEY"])
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(names) + x
        ask(1)
        """,
    ),
    _notebook(
        "a key in a table",
        """
        import pandas as pd
        users = pd.DataFrame({"name": ["ada"], "auth": ["KEY"]})
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(users) + x
        ask(1)
        """,
    ),
    _notebook(
        "a key in bytes",
        """
        SIGNING = b"KEY"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return len(SIGNING) + x
        ask(1)
        """,
    ),
    Notebook(
        "tokens of a tokenizer are no secrets",
        """
        special_tokens = ["<|begin_of_text|>", "<|end_of_text|>"]
        stop_token = "<|end_of_text|>"
        max_tokens_text = "one hundred"
        # %%
        @lab.post("/ask")
        def ask(text: str):
            for token in special_tokens:
                text = text.replace(token, "")
            return [text, stop_token, max_tokens_text]
        ask("a")
        """,
        asks=('POST /ask {"text": "<|begin_of_text|>one"}',),
    ),
    Notebook(
        "a key read from the environment inside the function",
        """
        %env SHOP_SECRET_KEY=correct-horse-battery
        # %%
        import os
        @lab.post("/ask")
        def ask(x: int):
            return [x, len(os.environ.get("SHOP_SECRET_KEY", ""))][:x]
        ask(1)
        """,
        asks=('POST /ask {"x": 2}',),
        secrets=(_WORD,),
        refused=r"SHOP_SECRET_KEY",
        or_equal=True,
        in_kernel=True,
    ),
)
