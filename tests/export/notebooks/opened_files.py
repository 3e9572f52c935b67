"""Files: opened, parsed and loaded, in a cell and in a served function."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_CSV = {"data/prices.csv": "name,price\ncup,3\npot,7\nlid,1\n"}

NOTEBOOKS = (
    Notebook(
        "a function that opens a file by a name in the code",
        """
        @lab.post("/ask")
        def ask(n: int):
            with open("words.txt") as file:
                return file.read().split()[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}', 'POST /ask {"n": 2}'),
        files={"words.txt": "one two three"},
        refused=r"words\.txt.*/ask",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a function that opens what it is given",
        """
        def lines(path):
            with open(path, encoding="utf-8") as file:
                return file.read().splitlines()
        # %%
        @lab.post("/ask")
        def ask(text: str):
            import tempfile
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
                file.write(text)
                file.flush()
                return lines(file.name)
        ask("a")
        """,
        asks=('POST /ask {"text": "x\\ny"}',),
    ),
    Notebook(
        "json.load of an open file, in a cell",
        """
        import json
        config = json.load(open("config.json"))
        # %%
        @lab.post("/ask")
        def ask(key: str):
            return config[key]
        ask("top")
        """,
        asks=('POST /ask {"key": "labels"}',),
        files={"config.json": '{"top": 3, "labels": ["a", "b", null, 1.5]}'},
    ),
    Notebook(
        "pathlib in a cell and a table built from it",
        """
        from pathlib import Path
        DATA = Path("data")
        text = (DATA / "prices.csv").read_text()
        prices = {}
        for line in text.splitlines()[1:]:
            name, price = line.split(",")
            prices[name] = int(price)
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return [prices.get(name), len(text), DATA.name]
        ask("none")
        """,
        asks=('POST /ask {"name": "pot"}',),
        files=_CSV,
    ),
    Notebook(
        "a path constant that a function reads",
        """
        from pathlib import Path
        PRICES = Path("data") / "prices.csv"
        # %%
        @lab.post("/ask")
        def ask(name: str):
            rows = [line.split(",") for line in PRICES.read_text().splitlines()]
            return dict(rows).get(name)
        ask("none")
        """,
        asks=('POST /ask {"name": "pot"}',),
        files=_CSV,
        refused=r"/ask[\s\S]*prices\.csv",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "csv.DictReader over a file",
        """
        import csv
        with open("data/prices.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return rows[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 2}',),
        files=_CSV,
    ),
    Notebook(
        "an array saved and loaded",
        """
        import numpy as np
        np.save("weights.npy", np.arange(6.0).reshape(3, 2))
        weights = np.load("weights.npy")
        both = np.load("models/sign.npz")["W0"]
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return [(np.array(x) @ weights).tolist(), both.tolist()]
        ask([0, 0, 0])
        """,
        asks=('POST /ask {"x": [1, 2, 3]}',),
    ),
    Notebook(
        "a file beside a module of the project",
        """
        import shop_words
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return shop_words.words()[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
        files={
            "shop_words.py": """
            from pathlib import Path


            def words():
                return (Path(__file__).parent / "shop_words.txt").read_text().split()
            """,
            "shop_words.txt": "one two",
        },
        refused=r"shop_words",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a file that stays open",
        """
        words = open("words.txt")
        # %%
        @lab.post("/ask")
        def ask(n: int):
            words.seek(0)
            return words.read().split()[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
        files={"words.txt": "one two three"},
        refused=r"/ask.*words",
        in_kernel=True,
    ),
    Notebook(
        "a file that a cell wrote for a function to read",
        """
        %%writefile rules.json
        {"late": "delivery", "broken": "repair"}
        # %%
        import json
        from pathlib import Path
        def rules():
            return json.loads(Path("rules.json").read_text())
        # %%
        @lab.post("/ask")
        def ask(word: str):
            return rules().get(word)
        ask("late")
        """,
        asks=('POST /ask {"word": "broken"}', 'POST /ask {"word": "new"}'),
        refused=r"rules\.json.*/ask",
        or_equal=True,
        in_kernel=True,
    ),
    Notebook(
        "a file name among the arguments of a model and a function",
        """
        sign = lab.load_model("models/sign.npz")
        FILES = {"sign": "models/sign.npz"}
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return [sign.predict(x).label, FILES["sign"], sign.name]
        ask([1, 1])
        """,
        asks=('POST /ask {"x": [-1, -2]}',),
    ),
    Notebook(
        "files in branches that were not tried",
        """
        import pandas as pd
        from pathlib import Path
        def words():
            return Path("words.txt").read_text().split()
        # %%
        @lab.post("/ask")
        def ask(n: int):
            if n > 1:
                return pd.read_csv("data/prices.csv").shape
            return words() if n else None
        ask(0)
        """,
        asks=('POST /ask {"n": 1}', 'POST /ask {"n": 2}'),
        files={**_CSV, "words.txt": "one two three"},
        refused=r"(ask opens data/prices\.csv|words opens words\.txt), which is not in .*/ask",
    ),
    Notebook(
        "a file that a cell reads and one that a branch writes",
        """
        words = open("words.txt").read().split()
        # %%
        @lab.post("/ask")
        def ask(n: int):
            if n < 0:
                open("words.txt", "a").close()
            return words[n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
        files={"words.txt": "one two three"},
    ),
)
