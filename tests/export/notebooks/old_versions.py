"""Partials, methods, tables and decorators that hold an earlier version of a function."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a partial of an old function",
        """
        from functools import partial
        def add(a, b):
            return a + b
        plus = partial(add, 1)
        # %%
        def add(a, b):
            return a - b
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [plus(x), add(x, 1)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*plus",
        or_equal=True,
    ),
    Notebook(
        "a partial with keywords that still holds",
        """
        from functools import partial
        def scale(x, *, by, offset=0):
            return x * by + offset
        triple = partial(scale, by=3, offset=1)
        table = {"double": partial(scale, by=2), "triple": triple}
        # %%
        @lab.post("/ask")
        def ask(x: int, name: str = "triple"):
            return [triple(x), table[name](x)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}', 'POST /ask {"x": 5, "name": "double"}'),
    ),
    Notebook(
        "a decorator that changed since",
        """
        def twice(function):
            def inner(x):
                return 2 * function(x)
            return inner
        # %%
        @twice
        def add(x):
            return x + 1
        # %%
        def twice(function):
            def inner(x):
                return 20 * function(x)
            return inner
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return add(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*add",
    ),
    Notebook(
        "a table of functions, one of them old",
        """
        def up(x):
            return x + 1
        def down(x):
            return x - 1
        steps = {"up": up, "down": down}
        # %%
        def up(x):
            return x + 10
        # %%
        @lab.post("/ask")
        def ask(x: int, step: str):
            return steps[step](x)
        ask(0, "down")
        """,
        asks=('POST /ask {"x": 5, "step": "up"}',),
        refused=r"/ask.*steps",
    ),
    Notebook(
        "a bound method of an object that was replaced",
        """
        class Scale:
            def __init__(self, by):
                self.by = by
            def apply(self, x):
                return x * self.by
        scale = Scale(2)
        apply = scale.apply
        # %%
        scale = Scale(3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [apply(x), scale.apply(x)]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*apply",
        or_equal=True,
    ),
    Notebook(
        "bound methods of live objects",
        """
        words = ["b", "a"]
        sorter = words.index
        greet = "hello {}".format
        class Scale:
            by = 3
            def apply(self, x):
                return x * self.by
            @classmethod
            def named(cls, name):
                return f"{cls.__name__}:{name}"
        scale = Scale()
        apply, named = scale.apply, Scale.named
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [apply(x), named("n"), greet(x), sorter("a")]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a function renamed, its first name now another",
        """
        def clean(text):
            return text.strip().lower()
        old_clean = clean
        # %%
        def clean(text):
            return old_clean(text).replace(" ", "-")
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [clean(text), old_clean(text)]
        ask("a")
        """,
        asks=('POST /ask {"text": " One Two "}',),
        refused=r"/ask.*old_clean.*earlier clean|/ask.*old_clean",
        or_equal=True,
    ),
    Notebook(
        "a pipeline of functions that changed since",
        """
        from conduit_lab import Sequential
        def first(text):
            return text.strip()
        def second(text):
            return text.upper()
        pipe = Sequential(first, second)
        # %%
        def second(text):
            return text.lower()
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return pipe(text)
        ask("1")
        """,
        asks=('POST /ask {"text": " One "}',),
        refused=r"/ask.*pipe",
    ),
    Notebook(
        "a function that was defined again and again",
        """
        def step(x):
            return x + 1
        # %%
        def step(x):
            return x + 2
        # %%
        def step(x):
            # the last one holds
            return x + 3
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return step(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a stage of a function that went back to its first text",
        """
        def step(x):
            return x + 1
        # %%
        def step(x):
            return x + 2
        # %%
        def step(x):
            return x + 1
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return step(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
