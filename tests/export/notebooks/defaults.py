"""Defaults: their values when the `def` ran, which may differ from what their names hold now."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

# the error names the function and its default, and what to do
_STALE = r"/ask.*clip.*limit[\s\S]*(again|re-run)"

NOTEBOOKS = (
    Notebook(
        "a stale default",
        """
        K = 3
        # %%
        def clip(x, limit=K):
            return min(x, limit)
        # %%
        K = 99
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return {"x": clip(x), "k": K}
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 2}', 'POST /ask {"x": 50}'),
        refused=_STALE,
    ),
    Notebook(
        "a stale keyword-only default",
        """
        K = 3
        def clip(x, *, limit=K):
            return min(x, limit)
        # %%
        K = 99
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return clip(x)
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=_STALE,
    ),
    Notebook(
        "a stale default of a lambda",
        """
        K = 3
        clip = lambda x, limit=K: min(x, limit)
        # %%
        K = 99
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return clip(x)
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=_STALE,
    ),
    Notebook(
        "a stale default of the endpoint itself",
        """
        LIMIT = 3
        # %%
        @lab.post("/ask")
        def ask(x: int, limit: int = LIMIT):
            return min(x, limit)
        # %%
        LIMIT = 99
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"/ask.*ask.*limit",
    ),
    Notebook(
        "a stale default of a dataclass field",
        """
        from dataclasses import dataclass
        TOP = 3
        # %%
        @dataclass
        class Settings:
            top: int = TOP
        # %%
        TOP = 99
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, Settings().top)
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"/ask.*Settings.*top",
    ),
    Notebook(
        "a mutable default that calls fill",
        """
        def remember(x, seen=[]):
            seen.append(x)
            return list(seen)
        # %%
        remember("a")
        remember("b")
        # %%
        @lab.post("/ask")
        def ask(x: str):
            return remember(x)[:2]
        # %%
        ask("c")
        """,
        asks=('POST /ask {"x": "d"}',),
        refused=r"/ask.*remember.*seen",
    ),
    Notebook(
        "a default that is still what its name holds",
        """
        LIMIT = 3
        WORDS = ["a", "b"]
        # %%
        def clip(x, limit=LIMIT, *, words=WORDS):
            return [min(x, limit), words]
        # %%
        @lab.post("/ask")
        def ask(x: int, twice: bool = False):
            return clip(x * 2 if twice else x)
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 2, "twice": true}', 'POST /ask {"x": 1}', 'POST /ask {"x": "no"}'),
    ),
    Notebook(
        "a default that was stale until its cell ran again",
        """
        K = 3
        # %%
        def clip(x, limit=K):
            return min(x, limit)
        # %%
        K = 99
        # %%
        def clip(x, limit=K):
            return min(x, limit)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return clip(x)
        # %%
        ask(2)
        """,
        asks=('POST /ask {"x": 50}', 'POST /ask {"x": 500}'),
    ),
)
