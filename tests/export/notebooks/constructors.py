"""Objects whose making changes others, or whose class refuses to be set."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a context of decimals that was used and changed",
        """
        from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
        money = Context(prec=4, rounding=ROUND_HALF_UP)
        third = money.divide(Decimal(1), Decimal(3))
        strict = Context(prec=3, traps=[Inexact])
        # %%
        money.prec = 5
        # %%
        @lab.post("/ask")
        def ask(x: int):
            with localcontext(money):
                found = [str(Decimal(x) / 3), str(third), bool(money.flags[Inexact])]
            try:
                return [*found, str(strict.divide(Decimal(x), Decimal(3)))]
            except Inexact:
                return [*found, "inexact"]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a frozen dataclass with slots that records its names",
        """
        from dataclasses import dataclass, field, replace
        MADE = []
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Item:
            name: str
            tags: list[str] = field(default_factory=list)
            size: int = field(init=False, default=0)
            def __post_init__(self):
                MADE.append(self.name)
                object.__setattr__(self, "size", len(self.name))
        cup = Item(name="cup")
        pot = replace(cup, name="kettle")
        cup.tags.append("blue")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            made = Item(name="a")
            return [cup.size, pot.size, pot.tags, pot.tags is cup.tags, MADE[:2], made.size, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a dataclass that records its names",
        """
        from dataclasses import dataclass
        MADE = []
        @dataclass
        class Item:
            name: str
            def __post_init__(self):
                MADE.append(self.name)
        cup = Item("cup")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [cup.name, MADE, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a frozen dataclass that records its names",
        """
        from dataclasses import dataclass
        MADE = []
        @dataclass(frozen=True)
        class Item:
            name: str
            def __post_init__(self):
                MADE.append(self.name)
        cup = Item("cup")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [cup.name, MADE, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a class with slots that refuses to be set",
        """
        MADE = []
        class Item:
            __slots__ = ("name",)
            def __init__(self, name):
                object.__setattr__(self, "name", name)
                MADE.append(name)
            def __setattr__(self, name, value):
                raise AttributeError("frozen")
        cup = Item("cup")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [cup.name, MADE, x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a metaclass that makes one object per class",
        """
        class Single(type):
            def __call__(cls, *args):
                if "made" not in vars(cls):
                    cls.made = super().__call__(*args)
                return cls.made
        class Config(metaclass=Single):
            def __init__(self, rate=1):
                self.rate = rate
        Config(5)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return Config().rate * x
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*Config",
    ),
    Notebook(
        "a class that numbers its objects",
        """
        COUNTS = {"made": 0}
        class Thing:
            def __init__(self, name):
                COUNTS["made"] += 1
                self.name, self.number = name, COUNTS["made"]
        things = [Thing(name) for name in "abc"]
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [Thing("x").number if x else 0, [each.number for each in things]]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
