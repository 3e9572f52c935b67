"""Definitions and values inside `if`, `try`, `with` and `for`, and how cells were run."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "definitions under if and else",
        """
        import sys
        if sys.version_info >= (3, 9):
            def join(words):
                return "-".join(words)
            SEPARATOR = "-"
        else:
            def join(words):
                return "+".join(words)
            SEPARATOR = "+"
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [join(text.split()), SEPARATOR]
        ask("a")
        """,
        asks=('POST /ask {"text": "a b c"}',),
    ),
    Notebook(
        "a definition in the except branch",
        """
        try:
            from no_such_library import clean
        except ImportError:
            def clean(text):
                return text.strip()
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return clean(text)
        ask("a")
        """,
        asks=('POST /ask {"text": "  b "}',),
    ),
    Notebook(
        "two definitions under one condition that changed",
        """
        strict = True
        if strict:
            def check(x):
                return x > 10
        else:
            def check(x):
                return x > 0
        # %%
        strict = False
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [check(x), strict]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 50}'),
    ),
    Notebook(
        "an endpoint defined inside with and a class inside for",
        """
        import contextlib
        for name in ["A", "B"]:
            class Kind:
                label = "kind"
        with contextlib.suppress(ValueError):
            @lab.post("/ask")
            def ask(x: int):
                return [Kind.label, x, name]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask",
        or_equal=True,
    ),
    Notebook(
        "functions made in a loop",
        """
        powers = {}
        for n in (2, 3):
            def power(x, n=n):
                return x ** n
            powers[n] = power
        # %%
        @lab.post("/ask")
        def ask(x: int, n: int):
            return powers[n](x)
        ask(1, 2)
        """,
        asks=('POST /ask {"x": 5, "n": 3}', 'POST /ask {"x": 5, "n": 2}'),
        refused=r"/ask.*powers",
        or_equal=True,
    ),
    Notebook(
        "endpoints registered in a loop",
        """
        def shout(text: str):
            return text.upper()
        def whisper(text: str):
            return text.lower()
        for function in (shout, whisper):
            lab.post(f"/{function.__name__}")(function)
        # %%
        lab.endpoints["/shout"]("a")
        lab.endpoints["/whisper"]("a")
        """,
        asks=('POST /shout {"text": "Ab"}', 'POST /whisper {"text": "Ab"}'),
        refused=r"/(shout|whisper)",
        or_equal=True,
    ),
    Notebook(
        "an endpoint registered by a call, its name kept",
        """
        def shout(text: str):
            return text.upper()
        # %%
        shout = lab.post("/ask")(shout)
        # %%
        shout("a")
        """,
        asks=('POST /ask {"text": "Ab"}',),
        refused=r"/ask",
        or_equal=True,
    ),
    Notebook(
        "cells run out of order",
        """
        @lab.post("/ask")
        def ask(x: int):
            return helper(x) + OFFSET
        # %%
        OFFSET = 5
        # %%
        def helper(x):
            return x * FACTOR
        # %%
        FACTOR = 2
        # %%
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a constant whose first cell ran again last",
        """
        FACTOR = 2
        # %%
        FACTOR = 3
        # %%
        FACTOR = 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return FACTOR * x
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a cell that failed halfway",
        """
        RATE = 2
        def fee(x):
            return RATE * x
        # %%
        RATE = 5
        1 / 0  # fails
        def fee(x):
            return 100 * x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [fee(x), RATE]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a cell with a mistake in its syntax",
        """
        LIMIT = 3
        # %%
        LIMIT = = 4  # fails
        # %%
        def fee(x:  # fails
            return x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, LIMIT)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a failed definition that kept the old one",
        """
        def scaled(x, by=2):
            return x * by
        # %%
        def scaled(x, by=undefined_factor):  # fails
            return x * by * 100
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return scaled(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a value that a name had before a failed statement",
        """
        values = [1, 2]
        # %%
        values = [3, 4] + undefined_values  # fails
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return values[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
    ),
    Notebook(
        "an endpoint run again with another body",
        """
        @lab.post("/ask")
        def ask(x: int):
            return x + 1
        ask(0)
        # %%
        @lab.post("/ask")
        def ask(x: int, y: int = 5):
            return x + y
        # %%
        ask(0)
        ask(0, 1)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 5, "y": 7}'),
    ),
    Notebook(
        "a recorded answer that became stale",
        """
        rates = {"a": 1}
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return rates.get(name)
        ask("a"), ask("b")
        # %%
        rates["a"] = 7
        rates["b"] = 8
        """,
        asks=('POST /ask {"name": "a"}', 'POST /ask {"name": "b"}'),
        refused=r"/ask[\s\S]*(stale|session itself|call it again)",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "several labs in one notebook",
        """
        other = Lab("other")
        LIMIT = 3
        # %%
        @other.post("/ask")
        def other_ask(x: int):
            return -x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, LIMIT)
        # %%
        ask(0), other_ask(1)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": -5}'),
    ),
    Notebook(
        "an endpoint that calls one of another lab",
        """
        other = Lab("other")
        @other.post("/neg")
        def neg(x: int):
            return -x
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return neg(x)
        # %%
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"neg belongs to another app.*/ask",
    ),
    Notebook(
        "the lab made again under its name",
        """
        @lab.post("/one")
        def one(x: int):
            return x + 1
        one(1)
        # %%
        lab = Lab("desk")
        # %%
        @lab.post("/two")
        def two(x: int):
            return one(x) + 1
        two(1)
        """,
        asks=('POST /one {"x": 5}', 'POST /two {"x": 5}'),
    ),
    Notebook(
        "definitions below a test of __name__",
        """
        if __name__ == "__main__":
            LIMIT = 3
            def clip(x):
                return min(x, LIMIT)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return clip(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
