"""Aliases: two ways to one object, which code can tell from two equal objects."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "two names of one list",
        """
        first = [1, 2]
        second = first
        third = list(first)
        # %%
        second.append(3)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [first is second, first is third, first[:x], third]
        ask(0)
        """,
        asks=('POST /ask {"x": 3}',),
    ),
    Notebook(
        "a nested list under a name of its own",
        """
        words = ["a"]
        config = {"words": words, "more": [words, words]}
        # %%
        words.append("b")
        # %%
        @lab.post("/ask")
        def ask(x: str):
            words.append(x)
            try:
                return [config["words"] is words, config["more"][0][-1], config["more"][1][-1]]
            finally:
                words.pop()
        ask("1")
        """,
        asks=('POST /ask {"x": "z"}',),
    ),
    Notebook(
        "rows that are one list",
        """
        grid = [[0] * 2] * 2
        # %%
        @lab.post("/ask")
        def ask(x: int):
            grid[0][0] = x
            return grid
        ask(0)
        """,
        asks=('POST /ask {"x": 7}',),
        refused=r"/ask.*grid",
        or_equal=True,
    ),
    Notebook(
        "an alias of the endpoint and of a function",
        """
        def double(x):
            return 2 * x
        twice = double
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [twice(x), twice is double, other is ask]
        other = ask
        # %%
        ask(1)
        """,
        asks=('POST /ask {"x": 7}',),
    ),
    Notebook(
        "a name bound to another's old value",
        """
        current = ["a"]
        previous = current
        # %%
        current = current + ["b"]
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [previous[:n], current[:n], previous is current]
        ask(0)
        """,
        asks=('POST /ask {"n": 5}',),
    ),
    Notebook(
        "a sentinel told apart by identity",
        """
        MISSING = object()
        def find(table, key, default=MISSING):
            value = table.get(key, MISSING)
            return "missing" if value is MISSING and default is MISSING else value
        # %%
        @lab.post("/ask")
        def ask(key: str):
            return find({"a": None}, key)
        ask("a")
        """,
        asks=('POST /ask {"key": "b"}', 'POST /ask {"key": "a"}'),
    ),
    Notebook(
        "names swapped and unpacked",
        """
        a, b = [1], [2]
        (c, *rest), d = ([3], 4, 5), {"k": a}
        # %%
        a, b = b, a
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [a, b, c, rest, d, d["k"] is b][n:]
        ask(5)
        """,
        asks=('POST /ask {"n": 0}',),
    ),
    Notebook(
        "a list that holds itself",
        """
        ring = [1]
        ring.append(ring)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            place = ring
            for _ in range(n):
                place = place[1]
            return place[0]
        ask(0)
        """,
        asks=('POST /ask {"n": 3}',),
        refused=r"/ask.*ring",
        or_equal=True,
    ),
    Notebook(
        "a read-only view of a dict that changes",
        """
        from types import MappingProxyType
        _prices = {"cup": 3}
        PRICES = MappingProxyType(_prices)
        ALONE = MappingProxyType({"a": [1]})
        _prices["pot"] = 5
        inside = {"prices": MappingProxyType(_prices)}
        # %%
        @lab.post("/ask")
        def ask(x: int):
            _prices["new"] = x
            return [dict(PRICES), dict(ALONE), dict(inside["prices"])]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
