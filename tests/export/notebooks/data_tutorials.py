"""Rewritten patterns of public tutorials on data and programs: all exports must be equal."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "an analysis of a table behind an endpoint",
        """
        import pandas as pd
        df = pd.read_csv("data/trips.csv")
        df.head()
        # %%
        df["fare"] = df["fare"].fillna(df["fare"].median())
        df["duration"] = pd.to_datetime(df["end"]) - pd.to_datetime(df["start"])
        df["minutes"] = df["duration"].dt.total_seconds() / 60
        df = df.drop(columns=["duration"])
        # %%
        df["speed"] = df.apply(lambda row: row["km"] / row["minutes"] * 60, axis=1).round(2)
        by_zone = df.groupby("zone").agg(trips=("km", "size"), mean_fare=("fare", "mean"))
        by_zone
        # %%
        @lab.get("/zones/{zone}")
        def zone(zone: str):
            if zone not in by_zone.index:
                return {"trips": 0}
            row = by_zone.loc[zone]
            fastest = df[df.zone == zone].nlargest(1, "speed")
            return {"trips": int(row.trips), "fare": float(row.mean_fare),
                    "fastest": fastest[["km", "speed"]].to_dict("records")}

        zone("north")
        """,
        asks=("GET /zones/south", "GET /zones/west"),
        files={
            "data/trips.csv": """
            zone,km,fare,start,end
            north,3.5,9.0,2024-01-01 10:00,2024-01-01 10:10
            north,8.0,,2024-01-01 11:00,2024-01-01 11:30
            south,1.2,5.5,2024-01-02 09:00,2024-01-02 09:06
            south,12.0,22.0,2024-01-02 18:00,2024-01-02 18:25
            """
        },
    ),
    Notebook(
        "a chain of a prompt template, a model and a parser",
        """
        import json
        from functools import reduce
        from string import Template
        # %%
        class Runnable:
            def __init__(self, function):
                self.function = function
            def __or__(self, other):
                return Runnable(lambda x: other.invoke(self.invoke(x)))
            def invoke(self, x):
                return self.function(x)

        prompt = Template("Extract the items of: $text. Answer in $format.")

        def fill(values):
            return prompt.substitute(format="JSON", **values)

        def model(text):
            words = text.split(":")[1].split(".")[0].replace(" and ", ",").split(",")
            return json.dumps({"items": [word.strip() for word in words if word.strip()]})

        def parse(text):
            return json.loads(text)["items"]
        # %%
        def invoke(steps, value):
            return reduce(lambda x, step: Runnable(step).invoke(x), steps, value)

        STEPS = (fill, model, parse)
        invoke(STEPS, {"text": "eggs and milk"})
        # %%
        @lab.post("/extract")
        def extract(text: str):
            chain = Runnable(fill) | Runnable(model) | Runnable(parse)
            return {"items": chain.invoke({"text": text}), "again": invoke(STEPS, {"text": text})}

        extract("eggs and milk")
        """,
        asks=(
            'POST /extract {"text": "flour, sugar and salt"}',
            'POST /extract {"text": "one"}',
        ),
    ),
    Notebook(
        "a recommender of neighbours",
        """
        import numpy as np
        from collections import defaultdict
        ratings = [("ada", "dune", 5), ("ada", "emma", 1), ("bob", "dune", 4), ("bob", "faust", 5),
                   ("eve", "emma", 5), ("eve", "faust", 2), ("dan", "dune", 5)]
        # %%
        users = sorted({user for user, _, _ in ratings})
        items = sorted({item for _, item, _ in ratings})
        matrix = np.zeros((len(users), len(items)))
        for user, item, stars in ratings:
            matrix[users.index(user), items.index(item)] = stars
        seen = defaultdict(set)
        for user, item, _ in ratings:
            seen[user].add(item)
        # %%
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        similarity = (matrix @ matrix.T) / (norms * norms.T)
        np.fill_diagonal(similarity, 0)
        # %%
        def recommend(user, n=2):
            scores = similarity[users.index(user)] @ matrix
            ranked = [items[i] for i in np.argsort(-scores, kind="stable")]
            return [item for item in ranked if item not in seen[user]][:n]
        # %%
        @lab.get("/recommend")
        def recommended(user: str, n: int = 2):
            return recommend(user, n) if user in users else []

        recommended("ada")
        """,
        asks=("GET /recommend?user=dan", "GET /recommend?user=eve&n=1", "GET /recommend?user=zoe"),
    ),
    Notebook(
        "smoothing and forecasting a series",
        """
        import numpy as np
        import pandas as pd
        history = pd.Series([10, 12, 13, 12, 15, 16, 18, 17, 19, 21], dtype=float,
                            index=pd.date_range("2024-01-01", periods=10, freq="D"))
        rolling = history.rolling(3).mean().dropna()
        # %%
        def holt(values, alpha=0.5, beta=0.3):
            level, trend = values[0], values[1] - values[0]
            for value in values[1:]:
                previous = level
                level = alpha * value + (1 - alpha) * (level + trend)
                trend = beta * (level - previous) + (1 - beta) * trend
            return level, trend
        # %%
        best = min(
            ((a, b) for a in (0.2, 0.5, 0.8) for b in (0.1, 0.3)),
            key=lambda p: (sum(holt(history.values[:-1], *p)) - history.iloc[-1]) ** 2,
        )
        values = history.to_numpy()
        level, trend = holt(values, *best)
        last_day = history.index[-1]
        # %%
        @lab.post("/forecast")
        def forecast(days: int = 3):
            dates = [(last_day + pd.Timedelta(days=n + 1)).date().isoformat() for n in range(days)]
            return {"smooth": rolling.round(3).tolist()[-2:], "best": best,
                    "forecast": {day: level + (n + 1) * trend for n, day in enumerate(dates)}}

        forecast(1)
        """,
        asks=('POST /forecast {"days": 4}', 'POST /forecast {"days": 0}'),
    ),
    Notebook(
        "keywords by tf-idf",
        """
        import math
        import re
        from collections import Counter
        STOP = {"the", "a", "of", "and", "is", "to", "in"}
        documents = ["The cat is in the garden", "A garden of roses and tulips",
                     "The price of roses is rising", "Cats and dogs and a garden"]
        # %%
        def tokens(text):
            words = re.findall(r"[a-z]+", text.lower())
            return [word.rstrip("s") for word in words if word not in STOP]

        counts = [Counter(tokens(document)) for document in documents]
        document_frequency = Counter()
        for count in counts:
            document_frequency.update(count.keys())
        idf = {word: math.log(len(documents) / n) + 1 for word, n in document_frequency.items()}
        # %%
        @lab.post("/keywords")
        def keywords(text: str, top_k: int = 3):
            count = Counter(tokens(text))
            default = math.log(len(documents)) + 1
            scored = {word: n * idf.get(word, default) for word, n in count.items()}
            return sorted(scored.items(), key=lambda pair: (-pair[1], pair[0]))[:top_k]

        keywords("roses in the garden")
        """,
        asks=(
            'POST /keywords {"text": "The dogs of the garden and the dogs of war"}',
            'POST /keywords {"text": "", "top_k": 1}',
        ),
    ),
    Notebook(
        "an agent that picks tools in a loop",
        """
        import ast
        import operator
        OPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
        FACTS = {"bonn": "Rhine", "ulm": "Danube"}
        # %%
        def calculate(text: str) -> str:
            "Work out an expression."
            def value(node):
                if isinstance(node, ast.BinOp):
                    return OPS[type(node.op)](value(node.left), value(node.right))
                return node.value
            return str(value(ast.parse(text, mode="eval").body))

        def river(city: str) -> str:
            "Name the river of a city."
            return FACTS.get(city.lower(), "none")

        TOOLS = {"calculate": calculate, "river": river}
        # %%
        def plan(question, notes):
            if notes:
                return "final", "; ".join(notes)
            if any(c.isdigit() for c in question):
                return "calculate", question.strip("? ").split("is ")[-1]
            return "river", question.strip("? ").split()[-1]

        def run(question, max_steps=3):
            notes, trace = [], []
            for step in range(max_steps):
                action, argument = plan(question, notes)
                trace.append([step, action])
                if action == "final":
                    return {"answer": argument, "trace": trace}
                notes.append(TOOLS[action](argument))
            return {"answer": None, "trace": trace}
        # %%
        @lab.post("/agent")
        def agent(question: str):
            return run(question)

        agent("What is 1 + 2?")

        @lab.tool()
        def river_of(city: str) -> str:
            "Name the river of a city."
            return river(city)

        river_of("Ulm")
        """,
        asks=(
            'POST /agent {"question": "What is 2 * 3 - 4?"}',
            'POST /agent {"question": "Which river is in Bonn?"}',
        ),
    ),
)
