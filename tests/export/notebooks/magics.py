"""Magics and shell lines around definitions and values."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "definitions under %%time",
        """
        %%time
        # how much
        def price(x):
            return 3 * x
        TABLE = {"a": 1}
        # %%
        %%time
        @lab.post("/ask")
        def ask(x: int):
            return [price(x), TABLE]
        # %%
        ask(0)
        """,
        asks=('POST /ask {"x": 4}',),
    ),
    Notebook(
        "definitions under %%capture",
        """
        %%capture output
        print("loading")
        from collections import Counter
        class Shop:
            rate = 3
        shop_rate = Shop.rate + 1
        # %%
        @lab.post("/ask")
        def ask(x: str):
            return [Counter(x).most_common(1), Shop.rate, shop_rate]
        ask("a")
        """,
        asks=('POST /ask {"x": "abb"}',),
    ),
    Notebook(
        "a value assigned by %time and one measured by %timeit",
        """
        %time total = sum(range(1000))
        # %%
        taken = %timeit -n1 -r1 -q -o sum(range(10))
        fast = taken.best < 5
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [total + x, fast]
        ask(0)
        """,
        asks=('POST /ask {"x": 4}',),
    ),
    Notebook(
        "the output of a shell line",
        """
        names = !printf 'one\\ntwo\\n'
        !echo hello
        # %%
        count = len(names)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [list(names)[:n], count]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}', 'POST /ask {"n": 2}'),
    ),
    Notebook(
        "a shell line inside the endpoint",
        """
        @lab.post("/ask")
        def ask(x: int):
            if x > 5:
                out = !echo many
                return out[0]
            return "few"
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        refused=r"(get_ipython|magic|notebook).*/ask",
    ),
    Notebook(
        "a magic inside a helper that was not called",
        """
        def measure():
            %time sum(range(10))
            return 1
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return measure() if x > 5 else x
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        refused=r"(get_ipython|magic|notebook).*/ask → ask → measure",
    ),
    Notebook(
        "a cell with a magic in front of its function",
        """
        %matplotlib inline
        %precision 3
        THRESHOLD = 0.5
        @lab.post("/ask")
        def ask(x: float):
            return x > THRESHOLD
        ask(0)
        """,
        asks=('POST /ask {"x": 0.7}',),
        in_kernel=True,
    ),
    Notebook(
        "help lines, semicolons and empty cells",
        """
        len?
        # %%

        # %%
        LIMIT = 3; OTHER = LIMIT + 1; LIMIT
        # %%
        @lab.post("/ask")
        def ask(x: int): y = min(x, LIMIT); return [y, OTHER];
        ask(0);
        """,
        asks=('POST /ask {"x": 9}',),
    ),
    Notebook(
        "code that %load put into a cell",
        """
        %load shared.py
        # %%
        # %load shared.py
        def shared(x):
            return x + 1
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return shared(x)
        ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        files={"shared.py": "def shared(x):\n    return x + 1\n"},
    ),
    Notebook(
        "awaited values at the top of a cell",
        """
        import asyncio
        async def fetch(x):
            await asyncio.sleep(0)
            return {"x": x, "seen": [x]}
        loaded = await fetch(3)
        both = await asyncio.gather(fetch(1), fetch(2))
        # %%
        @lab.post("/ask")
        async def ask(x: int):
            return [await fetch(x), loaded, both]
        await ask.acall(0) if hasattr(ask, "acall") else await ask(0)
        """,
        asks=('POST /ask {"x": 9}',),
        in_kernel=True,
    ),
    Notebook(
        "the lines of a command in a container, and joined",
        """
        lines = !printf 'b\\na'
        kept = {"lines": lines}
        text = "-".join(lines)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [sorted(kept["lines"]), text, lines is kept["lines"]][n:]
        ask(3)
        """,
        asks=('POST /ask {"n": 0}',),
    ),
    Notebook(
        "the lines of a command, searched by IPython's own method",
        """
        lines = !printf 'one\\ntwo'
        # %%
        @lab.post("/ask")
        def ask(word: str):
            return list(lines.grep(word)) if word else []
        ask("")
        """,
        asks=('POST /ask {"word": "two"}',),
        refused=r"ask uses lines\.grep.*plain list of lines.*/ask",
    ),
)
