"""Environment variables, folders of the machine, settings of libraries, chance and time."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_SETTING = r"(getcontext|prec|seed|seterr|set_option|setlocale|options|setting)[\s\S]*"
_SET = rf"/ask{_SETTING}|{_SETTING}/ask|setting [^\n]*here, [^\n]*sets it for the whole session: "
_VARIES = r"/(ask|pick|now|new)[\s\S]*(unseeded|draws|clock|not answer the same twice)"

NOTEBOOKS = (
    Notebook(
        "a variable set by %env and read in the endpoint",
        """
        %env SHOP_LIMIT=5
        # %%
        import os
        @lab.post("/ask")
        def ask(x: int):
            return min(x, int(os.environ["SHOP_LIMIT"]))
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"SHOP_LIMIT",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a variable set in os.environ, read with a default",
        """
        import os
        os.environ["SHOP_MODE"] = "strict"
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [x, os.getenv("SHOP_MODE", "loose")]
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
        refused=r"SHOP_MODE",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a value that was read from the environment at its making",
        """
        import os
        LIMIT = int(os.environ.get("SHOP_MAX", "7"))
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return min(x, LIMIT)
        ask(1)
        """,
        asks=('POST /ask {"x": 50}',),
    ),
    Notebook(
        "the home folder",
        """
        from pathlib import Path
        (Path.home() / "prices.txt").write_text("cup 3")
        # %%
        @lab.post("/ask")
        def ask(name: str):
            text = (Path.home() / "prices.txt").read_text()
            return dict([text.split()]).get(name)
        ask("cup")
        """,
        asks=('POST /ask {"name": "cup"}', 'POST /ask {"name": "pot"}'),
        refused=r"/ask[\s\S]*(home|prices\.txt)",
        in_kernel=True,
    ),
    Notebook(
        "the current folder",
        """
        import os
        from pathlib import Path
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return (Path.cwd() / "words" / name).read_text().split() if name else []
        ask("one.txt")
        """,
        asks=('POST /ask {"name": "two.txt"}',),
        files={"words/one.txt": "a b", "words/two.txt": "c d"},
        refused=r"/ask[\s\S]*(cwd|words)",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "an absolute path of a file in the project",
        """
        from pathlib import Path
        BASE = Path("words").resolve()
        FILE = str(BASE / "one.txt")
        # %%
        @lab.post("/ask")
        def ask(x: int):
            with open(FILE) as file:
                return file.read().split()[x]
        ask(0)
        """,
        asks=('POST /ask {"x": 1}',),
        files={"words/one.txt": "a b"},
        refused=r"/ask[\s\S]*(FILE|absolute|one\.txt)",
        or_equal=True,
    ),
    Notebook(
        "the precision of decimals",
        """
        from decimal import Decimal, getcontext
        getcontext().prec = 4
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return str(Decimal(x) / Decimal(3))
        ask(0)
        """,
        asks=('POST /ask {"x": 10}',),
        refused=_SET,
        in_kernel=True,
    ),
    Notebook(
        "the error state of NumPy",
        """
        import numpy as np
        np.seterr(divide="raise")
        # %%
        @lab.post("/ask")
        def ask(x: float):
            try:
                return float(np.float64(1) / np.float64(x))
            except FloatingPointError:
                return "infinite"
        ask(1)
        """,
        asks=('POST /ask {"x": 0}',),
        refused=_SET,
        or_equal=True,
    ),
    Notebook(
        "an option of pandas",
        """
        import pandas as pd
        pd.set_option("display.precision", 2)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return str(pd.Series([x]))
        ask(1)
        """,
        asks=('POST /ask {"x": 3.14159265}',),
        in_kernel=True,
    ),
    Notebook(
        "a seed set once for the session",
        """
        import random
        random.seed(3)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [random.random() for _ in range(n)]
        ask(1)
        """,
        asks=('POST /ask {"n": 2}',),
        refused=rf"{_SET}|{_VARIES}",
        in_kernel=True,
    ),
    Notebook(
        "NumPy seeded once, drawn from in an endpoint",
        """
        import numpy as np
        np.random.seed(3)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return np.random.rand(n).tolist()
        ask(1)
        """,
        asks=('POST /ask {"n": 2}',),
        refused=rf"{_SET}|{_VARIES}",
        in_kernel=True,
    ),
    Notebook(
        "a generator that endpoints draw from",
        """
        import numpy as np
        rng = np.random.default_rng(7)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return rng.integers(1000, size=n).tolist()
        ask(1)
        """,
        asks=('POST /ask {"n": 3}',),
        refused=r"/ask[\s\S]*rng|" + _VARIES,
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a generator of its own per request",
        """
        import random
        import numpy as np
        # %%
        @lab.post("/ask")
        def ask(seed: int):
            return [random.Random(seed).randint(0, 99), np.random.default_rng(seed).random()]
        ask(1)
        """,
        asks=('POST /ask {"seed": 3}', 'POST /ask {"seed": 4}'),
    ),
    Notebook(
        "a pick without a seed",
        """
        import random
        WORDS = [f"word {n}" for n in range(1000)]
        # %%
        @lab.post("/pick")
        def pick(x: int):
            return random.choice(WORDS)
        pick(1)
        """,
        asks=('POST /pick {"x": 3}',),
        refused=_VARIES,
        in_kernel=True,
    ),
    Notebook(
        "the clock",
        """
        from datetime import datetime
        @lab.get("/now")
        def now():
            return datetime.now().isoformat()
        now()
        """,
        asks=("GET /now",),
        refused=_VARIES,
        in_kernel=True,
    ),
    Notebook(
        "a new id per request",
        """
        from uuid import uuid4
        @lab.post("/new")
        def new(name: str):
            return {"id": uuid4().hex, "name": name}
        new("a")
        """,
        asks=('POST /new {"name": "b"}',),
        refused=_VARIES,
        in_kernel=True,
    ),
    Notebook(
        "a time of making and an id of the session",
        """
        from datetime import datetime, timezone
        from uuid import uuid4
        started = datetime.now(timezone.utc)
        session = uuid4()
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [started.isoformat(), str(session), x]
        ask(1)
        """,
        asks=('POST /ask {"x": 3}',),
    ),
    Notebook(
        "unseeded weights and a sample",
        """
        import random
        import numpy as np
        weights = np.random.default_rng().normal(size=(3, 2))
        sample = random.sample(range(1000), 5)
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return [(np.array(x) @ weights).tolist(), sample]
        ask([0, 0, 0])
        """,
        asks=('POST /ask {"x": [1, 2, 3]}',),
    ),
    Notebook(
        "an answer that depends on the order of a set",
        """
        WORDS = {"ant", "bee", "cat", "dog", "eel", "fox", "gnu"}
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return sorted(WORDS)[:n]
        ask(1)
        """,
        asks=('POST /ask {"n": 6}',),
    ),
    Notebook(
        "the recursion limit",
        """
        import sys
        sys.setrecursionlimit(20_000)
        # %%
        def depth(n):
            return 0 if n == 0 else 1 + depth(n - 1)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return depth(n)
        ask(1)
        """,
        asks=('POST /ask {"n": 3000}',),
        in_kernel=True,
    ),
    Notebook(
        "a locale",
        """
        import locale
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return locale.format_string("%.2f", x, grouping=True)
        ask(1)
        """,
        asks=('POST /ask {"x": 1234567.891}',),
        refused=_SET,
        or_equal=True,
        in_kernel=True,
    ),
)
