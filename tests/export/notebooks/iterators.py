"""Iterators that a cell advanced, and that hide their position."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "a reader of csv behind its header",
        """
        import csv
        lines = ["name,price", "cup,3", "pot,5"]
        reader = csv.reader(lines)
        header = next(reader)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [header, list(reader) if x else None]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*reader",
    ),
    Notebook(
        "an enumeration of a generator, one number taken",
        """
        pairs = enumerate(n * n for n in range(9))
        first = next(pairs)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [first, next(pairs) if x else None]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*pairs",
    ),
    Notebook(
        "the hits of a pattern, one taken",
        """
        import re
        hits = re.finditer(r"[0-9]", "1 2 3")
        first = next(hits).group()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [first, next(hits).group() if x else ""]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
        refused=r"/ask.*hits",
    ),
)
