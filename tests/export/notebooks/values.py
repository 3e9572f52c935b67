"""Values: enums, named tuples, dataclasses, dates, decimals, containers, and very large ones."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "enums and flags",
        """
        from enum import Enum, Flag, IntEnum, auto
        class Color(Enum):
            RED = "r"
            BLUE = "b"
            @property
            def title(self):
                return self.name.title()
        class Level(IntEnum):
            LOW = 1
            HIGH = 2
        class Can(Flag):
            READ = auto()
            WRITE = auto()
        Animal = Enum("Animal", "CAT DOG")
        DEFAULT = Color.BLUE
        RIGHTS = Can.READ | Can.WRITE
        BY_COLOR = {Color.RED: 1, Color.BLUE: Level.HIGH}
        # %%
        @lab.post("/ask")
        def ask(color: str):
            chosen = Color(color)
            return [chosen.title, chosen is DEFAULT, BY_COLOR[chosen], Can.WRITE in RIGHTS,
                    Animal.DOG.value]
        ask("r")
        """,
        asks=('POST /ask {"color": "b"}',),
    ),
    Notebook(
        "named tuples and dataclasses of every kind",
        """
        from collections import namedtuple
        from dataclasses import dataclass, field, replace
        from typing import NamedTuple
        Point = namedtuple("Point", ["x", "y"], defaults=[0])
        class Size(NamedTuple):
            width: int
            height: int = 2
            def area(self):
                return self.width * self.height
        @dataclass(frozen=True, slots=True)
        class Frozen:
            a: int
        @dataclass(kw_only=True)
        class Options:
            top: int = 3
            tags: list[str] = field(default_factory=lambda: ["x"])
            total: int = field(init=False)
            def __post_init__(self):
                self.total = self.top * 2
        origin, size, frozen = Point(1), Size(4), Frozen(7)
        options = Options(top=5)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [origin._replace(y=x), size.area(), replace(frozen, a=x).a, options.total,
                    options.tags, Options(top=x).total]
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
    ),
    Notebook(
        "dates, decimals and fractions",
        """
        from datetime import date, datetime, time, timedelta, timezone
        from decimal import Decimal
        from fractions import Fraction
        from uuid import UUID
        from zoneinfo import ZoneInfo
        start = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo("Europe/Berlin"))
        utc = datetime(2024, 1, 1, tzinfo=timezone.utc)
        limits = {"day": date(2024, 2, 29), "noon": time(12), "step": timedelta(days=1, hours=2)}
        price, third, key = Decimal("1.10"), Fraction(1, 3), UUID(int=7)
        # %%
        price *= 3
        limits["step"] *= 2
        # %%
        @lab.post("/ask")
        def ask(days: int):
            later = start + timedelta(days=days)
            return [later.isoformat(), (utc + limits["step"]).isoformat(), str(price * days),
                    str(third * days), str(key), limits["noon"].isoformat(), later.tzname()]
        ask(0)
        """,
        asks=('POST /ask {"days": 2}',),
    ),
    Notebook(
        "models of pydantic and of attrs",
        """
        import attrs
        from pydantic import BaseModel, ConfigDict, Field, computed_field
        class Address(BaseModel):
            model_config = ConfigDict(frozen=True, extra="forbid")
            city: str = Field(alias="town")
        class Person(BaseModel):
            name: str
            address: Address | None = None
            @computed_field
            @property
            def title(self) -> str:
                return self.name.title()
        @attrs.define
        class Point:
            x: int = attrs.field(converter=int)
            y: int = attrs.field(default=2, validator=attrs.validators.ge(0))
        home = Address(town="Bonn")
        ada = Person(name="ada", address=home)
        point = Point("3")
        # %%
        @lab.post("/ask")
        def ask(person: Person):
            return [person.model_dump(), ada.address.city, attrs.asdict(point)]
        ask(Person(name="eve"))
        """,
        asks=(
            'POST /ask {"person": {"name": "bob", "address": {"town": "Ulm"}}}',
            'POST /ask {"person": {"name": "bob", "address": {"town": "Ulm", "zip": 1}}}',
        ),
    ),
    Notebook(
        "an object of pydantic that was changed",
        """
        from pydantic import BaseModel
        class Settings(BaseModel):
            top: int = 3
            tags: list[str] = []
        settings = Settings()
        # %%
        settings.top = 7
        settings.tags.append("new")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [min(x, settings.top), settings.tags]
        ask(0)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"/ask.*settings",
        or_equal=True,
    ),
    Notebook(
        "a very large literal and a large text",
        """
        TABLE = {f"word {n}": [n, n / 7, str(n) * 3] for n in range(3000)}
        TEXT = "größe ☃ " * 2000
        # %%
        @lab.post("/ask")
        def ask(word: str):
            return [TABLE.get(word), len(TEXT), TEXT[:9], list(TABLE)[-1]]
        ask("none")
        """,
        asks=('POST /ask {"word": "word 2999"}', 'POST /ask {"word": "word 7"}'),
    ),
    Notebook(
        "a large table with keys that JSON does not know",
        """
        TABLE = {(n, n + 1): {n, -n} for n in range(1, 800)}
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return sorted(TABLE.get((n, n + 1), ()))
        ask(0)
        """,
        asks=('POST /ask {"n": 700}',),
        refused=r"/ask.*TABLE",
        or_equal=True,
    ),
    Notebook(
        "deep nesting",
        """
        deep = []
        for n in range(60):
            deep = [n, deep]
        # %%
        @lab.post("/ask")
        def ask(n: int):
            place = deep
            for _ in range(n):
                place = place[1]
            return place[0]
        ask(0)
        """,
        asks=('POST /ask {"n": 40}', 'POST /ask {"n": 59}'),
    ),
    Notebook(
        "numbers that are hard to write",
        """
        tiny, huge, nan, inf = 5e-324, 1.7976931348623157e308, float("nan"), float("-inf")
        big = 2 ** 200
        third = 0.1 + 0.2
        point = complex(1, -0.0)
        zero = -0.0
        # %%
        @lab.post("/ask")
        def ask(x: int):
            import math
            return [tiny * x, huge, nan != nan, str(inf), str(big + x), third, str(point),
                    math.copysign(1, zero), ... is Ellipsis]
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
    ),
    Notebook(
        "slices, ranges, types and views as values",
        """
        part = slice(1, None, 2)
        steps = range(0, 10, 3)
        kinds = {"int": int, "list": list, "none": type(None)}
        table = {"a": 1, "b": 2}
        keys = table.keys()
        frozen = frozenset({("a", 1), ("b", 2)})
        # %%
        @lab.post("/ask")
        def ask(text: str, kind: str):
            return [text[part], list(steps), kinds[kind].__name__, sorted(keys), ("a", 1) in frozen]
        ask("abc", "int")
        """,
        asks=('POST /ask {"text": "abcdef", "kind": "none"}',),
    ),
    Notebook(
        "a template, a pattern and a formatter",
        """
        import re
        from string import Template
        prompt = Template("Answer: $question")
        word = re.compile(r"\\b(\\w)(\\w*)", re.IGNORECASE | re.UNICODE)
        clean = str.maketrans({"ä": "ae", "!": None})
        # %%
        @lab.post("/ask")
        def ask(text: str):
            return [prompt.substitute(question=text), word.sub(r"\\2\\1", text),
                    text.translate(clean)]
        ask("a")
        """,
        asks=('POST /ask {"text": "Hello wörld! spät"}',),
    ),
    Notebook(
        "subclasses of containers with a state of their own",
        """
        class Table(dict):
            def __missing__(self, key):
                return f"no {key}"
        class Tags(list):
            name = "tags"
        table = Table(a=1)
        tags = Tags(["x"])
        # %%
        table["b"] = 2
        tags.append("y")
        tags.name = "mine"
        # %%
        @lab.post("/ask")
        def ask(key: str):
            return [table[key], list(tags), tags.name]
        ask("a")
        """,
        asks=('POST /ask {"key": "b"}', 'POST /ask {"key": "z"}'),
        refused=r"/ask.*(table|tags)",
        or_equal=True,
    ),
)
