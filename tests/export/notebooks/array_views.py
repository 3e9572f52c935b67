"""Arrays that share their memory with others."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_WRITES = """
        # %%
        @lab.post("/ask")
        def ask(x: float):
            kept = {target}
            {target} = x
            try:
                return [{shown}]
            finally:
                {target} = kept
        ask(1)
"""

NOTEBOOKS = (
    Notebook(
        "columns of one table of numbers",
        """
        import numpy as np
        data = np.arange(12.0).reshape(4, 3)
        X, y = data[:, :2], data[:, 2]
        z = data[1:, 1]
        """
        + _WRITES.format(target="data[1, 1]", shown="X.tolist(), y.tolist(), z.tolist()"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "a flat, a turned and a reversed view",
        """
        import numpy as np
        whole = np.arange(6.0)
        table = whole.reshape(2, 3)
        turned = table.T
        back = whole[::-1]
        """
        + _WRITES.format(target="back[0]", shown="table.tolist(), turned.tolist(), whole.tolist()"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "a view inside a dict, and another of the same array",
        """
        import numpy as np
        weights = np.linspace(0, 1, 8)
        parts = {"low": weights[:4], "high": weights[4:]}
        """
        + _WRITES.format(
            target='parts["low"][1]', shown="weights.tolist(), parts['high'].tolist()"
        ),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "two views of an array that has no name",
        """
        import numpy as np
        first = np.arange(6).reshape(2, 3)
        row = first[0]
        """
        + _WRITES.format(target="row[2]", shown="first.tolist(), row.tolist()"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "a view of the words and numbers of records",
        """
        import numpy as np
        records = np.array([("a", 1), ("b", 2)], dtype=[("word", "U4"), ("n", "i4")])
        numbers = records["n"]
        bits = np.arange(4, dtype="f4").view("i4")
        """
        + _WRITES.format(target="numbers[0]", shown="records['n'].tolist(), bits.tolist()"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "a view whose array was changed and named again",
        """
        import numpy as np
        base = np.zeros(4)
        half = base[:2]
        base = base + 1
        half += 5
        """
        + _WRITES.format(target="base[0]", shown="base.tolist(), half.tolist()"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "a view with an index that changed since",
        """
        import numpy as np
        n = 2
        base = np.arange(6.0)
        head = base[:n]
        n = 5
        """
        + _WRITES.format(target="base[1]", shown="base.tolist(), head.tolist(), n"),
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "an array of a table's column",
        """
        import numpy as np
        import pandas as pd
        table = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
        column = table["a"].to_numpy(copy=True)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return [table["a"].tolist(), (column * x).tolist()]
        ask(1)
        """,
        asks=('POST /ask {"x": 77}',),
    ),
    Notebook(
        "an array that nothing may write to, in a dict and in part",
        """
        import numpy as np
        weights = np.arange(3.0)
        weights.setflags(write=False)
        wide = np.broadcast_to(np.arange(3), (2, 3))
        table = {"w": weights, "v": weights[1:]}
        # %%
        @lab.post("/ask")
        def ask(x: int):
            try:
                if x:
                    weights[0] = x
            except ValueError:
                return ["read-only", wide.flags.writeable, table["w"].flags.writeable]
            return table["v"].tolist()
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "a read-only view of an array that changes",
        """
        import numpy as np
        base = np.arange(4.0)
        seen = base[1:]
        seen.flags.writeable = False
        # %%
        @lab.post("/ask")
        def ask(x: int):
            base[1] = x
            try:
                seen[0] = 9
            except ValueError:
                return ["read-only", seen.tolist()]
            return seen.tolist()
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
    Notebook(
        "arrays of a table and of bytes",
        """
        import numpy as np
        import pandas as pd
        df = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
        values = df["a"].to_numpy()
        buffer = np.frombuffer(b"abcd", dtype=np.uint8)
        # %%
        @lab.post("/ask")
        def ask(x: int):
            return [values.flags.writeable, buffer.tolist(), values.sum() * x]
        ask(0)
        """,
        asks=('POST /ask {"x": 5}',),
    ),
)
