"""Annotations, and names and paths that are not ASCII."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "annotations from the future in another cell",
        """
        from __future__ import annotations
        # %%
        from pydantic import BaseModel
        class Order(BaseModel):
            item: str
            count: int = 1
        # %%
        @lab.post("/ask")
        def ask(order: Order) -> dict[str, int]:
            return {order.item: order.count}
        ask(Order(item="cup"))
        """,
        asks=(
            'POST /ask {"item": "pot", "count": 3}',
            'POST /ask {"order": {"item": "pot", "count": 3}}',
            'POST /ask {"count": "many"}',
        ),
    ),
    Notebook(
        "annotations as text, and a name only checkers see",
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from no_such_library import Table
        def count(table: "Table", by: "int" = 2) -> "list[Missing]":
            return [len(table) * by]
        # %%
        @lab.post("/ask")
        def ask(x: "list[int]", by: "int | None" = None):
            return count(x, by or 2)
        ask([1])
        """,
        asks=('POST /ask {"x": [1, 2], "by": 5}', 'POST /ask {"x": "a"}'),
    ),
    Notebook(
        "generics, protocols and type variables",
        """
        from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypeAlias, TypeVar
        T = TypeVar("T")
        Score = NewType("Score", float)
        Row: TypeAlias = dict[str, Any]
        class Sized(Protocol):
            def size(self) -> int: ...
        class Box(Generic[T]):
            def __init__(self, item: T) -> None:
                self.item = item
            def get(self) -> T:
                return self.item
        def first(items: list[T], kind: Literal["a", "b"] = "a") -> T:
            return items[0]
        # %%
        @lab.post("/ask")
        def ask(x: Annotated[int, "a number"], kind: Literal["up", "down"] = "up") -> Row:
            return {"box": Box[int](x).get(), "first": first([x]), "score": Score(1.5), "k": kind}
        ask(1)
        """,
        asks=('POST /ask {"x": 5, "kind": "down"}', 'POST /ask {"x": 5, "kind": "left"}'),
    ),
    Notebook(
        "constraints in a signature",
        """
        from typing import Annotated
        from pydantic import BaseModel, Field, field_validator
        MIN = 1
        class Item(BaseModel):
            name: str = Field(min_length=2)
            @field_validator("name")
            @classmethod
            def lower(cls, value):
                return value.lower()
        # %%
        @lab.post("/ask")
        def ask(items: list[Item], top: Annotated[int, Field(ge=MIN, le=9)] = 3):
            return [item.name for item in items][:top]
        ask([Item(name="Cup")])
        """,
        asks=(
            'POST /ask {"items": [{"name": "POT"}, {"name": "Lid"}], "top": 1}',
            'POST /ask {"items": [{"name": "P"}]}',
            'POST /ask {"items": [], "top": 10}',
        ),
    ),
    Notebook(
        "a constraint whose constant changed since",
        """
        from typing import Annotated
        from pydantic import Field
        MAX = 9
        @lab.post("/ask")
        def ask(top: Annotated[int, Field(le=MAX)] = 3):
            return top
        ask(1)
        # %%
        MAX = 99
        """,
        asks=('POST /ask {"top": 50}',),
        refused=r"/ask.*(top|annotation)",
        or_equal=True,
    ),
    Notebook(
        "an enum, a date and a dataclass as parameters",
        """
        from dataclasses import dataclass
        from datetime import date, timedelta
        from enum import Enum
        class Size(str, Enum):
            SMALL = "s"
            LARGE = "l"
        @dataclass
        class Range:
            first: date
            days: int = 1
        # %%
        @lab.post("/ask")
        def ask(size: Size, range: Range):
            return [size.name, (range.first + timedelta(days=range.days)).isoformat()]
        ask(Size.SMALL, Range(date(2024, 1, 1)))
        """,
        asks=(
            'POST /ask {"size": "l", "range": {"first": "2024-02-28", "days": 2}}',
            'POST /ask {"size": "xl", "range": {"first": "2024-02-28"}}',
        ),
    ),
    Notebook(
        "names and an endpoint that are not ASCII",
        """
        café = 1
        größe_in_cm = {"klein": 10, "groß": 30}
        def überschrift(text):
            return f"» {text} «"
        # %%
        @lab.post("/größe")
        def größe(name: str, 倍: int = 1):
            return [größe_in_cm.get(name, 0) * 倍 + café, überschrift(name)]
        größe("klein")
        """,
        asks=(
            'POST /größe {"name": "groß", "倍": 2}',
            'POST /größe {"name": "日本"}',
        ),
    ),
    Notebook(
        "a GET with a query and a part of the path, not ASCII",
        """
        WORDS = {"naïve": "naiv", "日本": "Japan", "a b": "space"}
        # %%
        @lab.get("/wörter/{word}")
        def wörter(word: str, laut: bool = False):
            found = WORDS.get(word, "?")
            return found.upper() if laut else found
        wörter("naïve")
        """,
        asks=(
            "GET /wörter/naïve?laut=true",
            "GET /wörter/日本",
            "GET /wörter/a%20b",
            "GET /wörter/x?laut=nein",
        ),
    ),
    Notebook(
        "texts with quotes, backslashes, emoji and line ends",
        '''
        TEXT = """three 'kinds' of "quotes" \\\\ and
        line\\tand \\N{BULLET} ☃ 👩‍🚀"""
        RAW = r"\\d+\\s" + "\\x00\\x7f"
        BYTES = b"\\x00\\xff'"
        # %%
        @lab.post("/ask")
        def ask(n: int):
            f = f"{TEXT!r:>{n}} {{n}}"
            return [TEXT[n:], RAW, list(BYTES), f, "é" == "é"]
        ask(0)
        ''',
        asks=('POST /ask {"n": 5}',),
    ),
    Notebook(
        "a project file with a name that is not ASCII",
        """
        import prüfung
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return prüfung.prüfe(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        files={"prüfung.py": 'def prüfe(x):\n    return "größer" if x > 3 else "kleiner"\n'},
    ),
)
