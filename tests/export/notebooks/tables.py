"""Tables and arrays: assigned to, grouped, merged, recomputed."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "columns assigned to a table",
        """
        import pandas as pd
        df = pd.DataFrame({"name": ["cup", "pot", "lid"], "price": [3.0, 7.5, 1.25]})
        # %%
        df["tax"] = df["price"] * 0.2
        df["label"] = df["name"].str.upper()
        # %%
        df.loc[df["name"] == "pot", "price"] = 8.0
        df.loc[3] = ["pan", 11.0, 2.2, "PAN"]
        # %%
        @lab.post("/ask")
        def ask(name: str):
            return df[df["name"] == name].to_dict("records")
        ask("cup")
        """,
        asks=('POST /ask {"name": "pot"}', 'POST /ask {"name": "pan"}', 'POST /ask {"name": "x"}'),
    ),
    Notebook(
        "a table changed in place",
        """
        import pandas as pd
        df = pd.DataFrame({"b": [3, 1, 2], "a": [1.0, None, 3.0]})
        # %%
        df.sort_values("b", inplace=True)
        df.rename(columns={"a": "value"}, inplace=True)
        df.fillna({"value": -1.0}, inplace=True)
        df.reset_index(drop=True, inplace=True)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [df.iloc[n].tolist(), df.columns.tolist()]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}', 'POST /ask {"n": 2}'),
    ),
    Notebook(
        "groups, a merge and a pivot",
        """
        import pandas as pd
        sales = pd.DataFrame({"shop": ["x", "y", "x", "y"], "item": ["cup", "cup", "pot", "pot"],
                              "sold": [1, 2, 3, 4]})
        prices = pd.DataFrame({"item": ["cup", "pot"], "price": [3.0, 7.0]})
        # %%
        merged = sales.merge(prices, on="item")
        merged["turnover"] = merged.sold * merged.price
        per_shop = merged.groupby("shop")["turnover"].agg(["sum", "mean"])
        wide = merged.pivot(index="shop", columns="item", values="sold")
        # %%
        @lab.post("/ask")
        def ask(shop: str):
            return [per_shop.loc[shop].to_dict(), wide.loc[shop].to_dict()]
        ask("x")
        """,
        asks=('POST /ask {"shop": "y"}',),
    ),
    Notebook(
        "series, categories and dates",
        """
        import pandas as pd
        days = pd.date_range("2024-01-01", periods=4, freq="D")
        series = pd.Series([1.0, 2.5, 4.0, 8.0], index=days, name="load")
        kinds = pd.Series(pd.Categorical(["b", "a", "b", "c"], categories=["c", "b", "a"],
                                         ordered=True))
        # %%
        series.iloc[1] = 3.0
        # %%
        @lab.post("/ask")
        def ask(day: str):
            return [float(series.loc[day]), series.name, str(kinds.max()), series.index.freqstr]
        ask("2024-01-01")
        """,
        asks=('POST /ask {"day": "2024-01-02"}', 'POST /ask {"day": "2024-01-04"}'),
        refused=r"/ask.*(series|kinds)",
        or_equal=True,
    ),
    Notebook(
        "a table with an index of two levels and mixed types",
        """
        import pandas as pd
        df = pd.DataFrame(
            {"shop": ["x", "x", "y"], "item": ["cup", "pot", "cup"], "n": [1, 2, 3],
             "when": pd.to_datetime(["2024-01-01", "2024-02-01", None]), "ok": [True, False, True]}
        ).set_index(["shop", "item"])
        # %%
        @lab.post("/ask")
        def ask(shop: str):
            part = df.loc[shop]
            return [part["n"].to_dict(), part["ok"].tolist(), part["when"].astype(str).tolist()]
        ask("x")
        """,
        asks=('POST /ask {"shop": "y"}',),
        refused=r"/ask.*df",
        or_equal=True,
    ),
    Notebook(
        "a table with objects in its cells",
        """
        import pandas as pd
        df = pd.DataFrame({"name": ["cup", "pot"], "tags": [["a", "b"], []]})
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return df["tags"][n]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
        refused=r"/ask.*df",
        or_equal=True,
    ),
    Notebook(
        "a table read from a file and cleaned in steps",
        """
        import pandas as pd
        df = pd.read_csv("data/orders.csv", parse_dates=["day"])
        df = df.dropna()
        df = df[df["total"] > 0]
        df["month"] = df["day"].dt.month
        # %%
        totals = df.groupby("month")["total"].sum().to_dict()
        # %%
        @lab.post("/ask")
        def ask(month: int):
            return {"total": totals.get(month), "orders": int((df["month"] == month).sum())}
        ask(12)
        """,
        asks=('POST /ask {"month": 1}', 'POST /ask {"month": 2}'),
        files={
            "data/orders.csv": """
            day,total
            2024-01-03,5.5
            2024-01-09,-1
            2024-02-03,7.25
            2024-02-04,
            """
        },
    ),
    Notebook(
        "an array computed again from itself",
        """
        import numpy as np
        data = np.array([[1.0, 2.0], [3.0, 4.0]])
        # %%
        data = data - data.mean(axis=0)
        data /= data.std(axis=0)
        data[0, 0] = 9
        # %%
        mean, std = data.mean(), data.std(axis=0)
        best = np.argmax(data)
        # %%
        @lab.post("/ask")
        def ask(n: int):
            return [data[n].tolist(), float(mean), std.tolist(), int(best), type(mean).__name__]
        ask(0)
        """,
        asks=('POST /ask {"n": 1}',),
    ),
    Notebook(
        "scalars, kinds and shapes of NumPy",
        """
        import numpy as np
        half = np.float32(0.1)
        count = np.int64(3)
        day = np.datetime64("2024-03-01")
        words = np.array(["one", "three"])
        empty = np.zeros((0, 3))
        mask = np.array([True, False])
        mixed = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
        column = np.asfortranarray(np.arange(6).reshape(2, 3))
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return [float(half * np.float32(x)), int(count) + 1, str(day + 1), words[1],
                    empty.shape, words[mask].tolist(), float(mixed["b"][0]),
                    column.flags.f_contiguous, column.T.ravel().tolist()]
        ask(0)
        """,
        asks=('POST /ask {"x": 3.3}',),
    ),
    Notebook(
        "a view of another array",
        """
        import numpy as np
        whole = np.arange(6.0)
        part = whole[1:3]
        # %%
        part += 10
        # %%
        @lab.post("/ask")
        def ask(x: float):
            part[0] = x
            try:
                return [whole.tolist(), part.tolist(), np.shares_memory(part, whole)]
            finally:
                part[0] = 11
        ask(11)
        """,
        asks=('POST /ask {"x": 3}',),
        refused=r"/ask.*(part|whole)",
        or_equal=True,
    ),
    Notebook(
        "a masked array and a matrix of objects",
        """
        import numpy as np
        readings = np.ma.masked_greater(np.array([1.0, 50.0, 3.0]), 10)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return float(readings.mean() + x)
        ask(0)
        """,
        asks=('POST /ask {"x": 1}',),
        refused=r"/ask.*readings",
        or_equal=True,
    ),
    Notebook(
        "a function of pandas that needs a package no cell imports",
        """
        import io
        import pandas as pd
        df = pd.DataFrame({"name": ["cup", "pot"], "price": [3.0, 7.5]})
        # %%
        @lab.post("/ask")
        def ask(n: int):
            buffer = io.BytesIO()
            df.head(n).to_parquet(buffer)
            return pd.read_parquet(io.BytesIO(buffer.getvalue())).to_dict("records")
        ask(1)
        """,
        asks=('POST /ask {"n": 2}',),
        refused=r"/ask[\s\S]*pyarrow",
        or_equal=True,
        packages=("pandas", "pyarrow"),
        in_kernel=True,
    ),
)
