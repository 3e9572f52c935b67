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
    Notebook(
        "a list that a decorator with an argument fills",
        """
        RULES = []
        def rule(rank):
            def keep(function):
                RULES.append((rank, function))
                return function
            return keep
        # %%
        @rule(2)
        def double(x):
            return x * 2
        # %%
        @rule(1)
        def add(x):
            return x + 1
        # %%
        @lab.post("/ask")
        def ask(x: int):
            for rank, function in sorted(RULES, key=lambda pair: pair[0]):
                x = function(x)
            return x
        ask(1)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a table of classes that a decorator fills",
        """
        KINDS = {}
        def kind(name):
            def keep(cls):
                KINDS[name] = cls
                return cls
            return keep
        # %%
        @kind("tea")
        class Tea:
            price = 3
        # %%
        @kind("mug")
        class Mug:
            price = 8
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return KINDS[name]().price if name in KINDS else None
        ask("")
        """,
        asks=('POST /ask {"name": "mug"}', 'POST /ask {"name": "tea"}'),
    ),
    Notebook(
        "a registry filled by decorators and by hand",
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
        TOOLS["plus"] = add
        @tool
        def mul(a, b):
            return a * b
        del TOOLS["add"]
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return [list(TOOLS), TOOLS[name](2, 3) if name in TOOLS else None]
        ask("none")
        """,
        asks=('POST /ask {"name": "plus"}', 'POST /ask {"name": "mul"}'),
        refused=r"/ask.*TOOLS",
        or_equal=True,
    ),
    Notebook(
        "a registry that an object's decorator fills",
        """
        class Registry:
            def __init__(self):
                self.known = {}
            def __call__(self, function):
                self.known[function.__name__] = function
                return function
        tool = Registry()
        # %%
        @tool
        def add(a, b):
            return a + b
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return tool.known[name](2, 3) if name in tool.known else None
        ask("none")
        """,
        asks=('POST /ask {"name": "add"}',),
        refused=r"/ask.*tool",
        or_equal=True,
    ),
)
