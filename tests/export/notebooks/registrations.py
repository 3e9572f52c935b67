"""Registrations: statements that change an object by a call or a decorator."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "single dispatch with registrations in later cells",
        """
        from functools import singledispatch
        @singledispatch
        def show(x):
            return "any"
        # %%
        @show.register
        def _(x: int):
            return f"int {x}"
        # %%
        @show.register(list)
        def show_list(x):
            return [show(item) for item in x]
        # %%
        @lab.post("/ask")
        def ask(x):
            return show(x["value"])
        ask({"value": "text"})
        """,
        asks=('POST /ask {"value": 3}', 'POST /ask {"value": [1, "a", [2]]}'),
        refused=r"/ask.*show",
        or_equal=True,
    ),
    Notebook(
        "a registry that a decorator fills",
        """
        TOOLS = {}
        def tool(function):
            TOOLS[function.__name__] = function
            return function
        # %%
        @tool
        def add(a, b):
            return a + b
        # %%
        @tool
        def mul(a, b):
            return a * b
        # %%
        @lab.post("/ask")
        def ask(name: str, a: int, b: int):
            return TOOLS[name](a, b) if name in TOOLS else None
        ask("none", 1, 2)
        """,
        asks=(
            'POST /ask {"name": "add", "a": 2, "b": 3}',
            'POST /ask {"name": "mul", "a": 2, "b": 3}',
        ),
        refused=r"/ask.*TOOLS",
        or_equal=True,
    ),
    Notebook(
        "a registry filled by a decorator with a name, overwritten once",
        """
        HANDLERS = {}
        def on(event):
            def add(function):
                HANDLERS[event] = function
                return function
            return add
        @on("open")
        def handle(x):
            return x + 1
        # %%
        @on("close")
        def handle(x):
            return x - 1
        # %%
        @lab.post("/ask")
        def ask(event: str, x: int):
            return HANDLERS[event](x)
        ask("open", 1)
        """,
        asks=('POST /ask {"event": "close", "x": 5}', 'POST /ask {"event": "open", "x": 5}'),
        refused=r"/ask.*HANDLERS",
        or_equal=True,
    ),
    Notebook(
        "a list of rules that calls extend",
        """
        import re
        RULES = []
        def rule(pattern, label):
            RULES.append((re.compile(pattern), label))
        # %%
        rule(r"refund|money back", "refund")
        rule(r"\\blate\\b", "delivery")
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [label for pattern, label in RULES if pattern.search(text)]
        ask("nothing")
        """,
        asks=('POST /ask {"text": "my refund is late"}', 'POST /ask {"text": "lately"}'),
        refused=r"/ask.*RULES",
        or_equal=True,
    ),
    Notebook(
        "an abstract class with a registered type",
        """
        from abc import ABC
        class Number(ABC):
            pass
        # %%
        Number.register(int)
        # %%
        @lab.post("/ask")
        def ask(x):
            return isinstance(x["value"], Number)
        ask({"value": "a"})
        """,
        asks=('POST /ask {"value": 3}',),
        refused=r"/ask.*Number",
        or_equal=True,
    ),
    Notebook(
        "an encoder registered in a library",
        """
        import copyreg
        class Money:
            def __init__(self, cents):
                self.cents = cents
        # %%
        copyreg.pickle(Money, lambda money: (Money, (money.cents + 1,)))
        # %%
        import copy
        @lab.post("/ask")
        def ask(x: int):
            return copy.copy(Money(x)).cents
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask[\s\S]*(copyreg|Money)",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "an exit handler beside the app",
        """
        import atexit
        log = []
        atexit.register(log.clear)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return x + 1
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
