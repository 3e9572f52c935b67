"""Models, stores and flows: by name, in containers, objects and closures, swapped, changed."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

_SIGN = 'POST /ask {"x": [-1, -2]}', 'POST /ask {"x": [3, -2]}'

NOTEBOOKS = (
    Notebook(
        "models in a dict and a list",
        """
        sign = lab.load_model("models/sign.npz")
        models = {"sign": sign, "mood": lab.load_model("models/mood.npz")}
        order = [models["mood"], sign]
        # %%
        @lab.post("/ask")
        def ask(x: list[float], name: str = "mood"):
            return [models[name].predict(x).label, [model.predict(x).label for model in order]]
        ask([1, 1])
        """,
        asks=_SIGN,
    ),
    Notebook(
        "models loaded in a loop and in a comprehension",
        """
        loaded = {}
        for name in ("sign", "mood"):
            loaded[name] = lab.load_model(f"models/{name}.npz")
        also = [lab.load_model(f"models/{name}.npz") for name in ("mood",)]
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return [loaded["sign"].predict(x).label, also[0].predict(x).label]
        ask([1, 1])
        """,
        asks=_SIGN,
        refused=r"/ask.*(loaded|also)",
        or_equal=True,
    ),
    Notebook(
        "a model inside an object",
        """
        class Classifier:
            def __init__(self, model, threshold=0.5):
                self.model, self.threshold = model, threshold
            def __call__(self, x):
                found = self.model.predict(x)
                return found.label if found.score >= self.threshold else "unsure"
        classify = Classifier(lab.load_model("models/sign.npz"), threshold=0.9)
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return classify(x)
        ask([1, 1])
        """,
        asks=(*_SIGN, 'POST /ask {"x": [0.1, 0]}'),
    ),
    Notebook(
        "a model in a closure and in a default",
        """
        sign = lab.load_model("models/sign.npz")
        def labelled(x, model=sign):
            return model.predict(x).label
        def using(model):
            return lambda x: model.predict(x).score > 0.9
        sure = using(sign)
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return [labelled(x), bool(sure(x))]
        ask([1, 1])
        """,
        asks=_SIGN,
        refused=r"/ask.*sure",
        or_equal=True,
    ),
    Notebook(
        "a model swapped for another under its name",
        """
        model = lab.load_model("models/sign.npz")
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return model.predict(x).label
        ask([1, 1])
        # %%
        model = lab.load_model("models/mood.npz")
        # %%
        ask([1, 1])
        """,
        asks=_SIGN,
    ),
    Notebook(
        "a default that holds a model swapped since",
        """
        model = lab.load_model("models/sign.npz")
        def classify(x, by=model):
            return by.predict(x).label
        # %%
        model = lab.load_model("models/mood.npz")
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return classify(x)
        ask([1, 1])
        """,
        asks=_SIGN,
        refused=r"/ask.*classify.*by",
        or_equal=True,
    ),
    Notebook(
        "pipelines, ensembles and fallbacks as values",
        """
        from conduit_lab import Ensemble, Fallback, Parallel, Sequential, majority_vote
        sign, mood = lab.load_model("models/sign.npz"), lab.load_model("models/mood.npz")
        def scaled(x):
            return [2 * each for each in x]
        chain = Sequential(scaled, sign)
        both = Parallel({"a": chain, "b": mood})
        safe = Fallback(mood, sign)
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return {"both": both(x), "safe": safe(x).label, "chain": chain(x).label}
        ask([1, 1])
        """,
        asks=_SIGN,
    ),
    Notebook(
        "decorated endpoints with models by their path",
        """
        from conduit_lab import majority_vote
        @lab.ml_endpoint("/one", model="models/sign.npz", fallback="models/mood.npz")
        def one(input_data):
            return input_data["features"]
        @lab.ml_ensemble("/vote", models=["models/sign.npz", "models/mood.npz"])
        def vote(predictions):
            return [each.label for each in predictions]
        @lab.ml_pipeline("/line")
        def line(input_data):
            return {"n": len(input_data["features"]), "one": one(input_data)}
        # %%
        one({"features": [1, 1]}), vote([1, 1]), line({"features": [1, 1]})
        """,
        asks=(
            'POST /one {"features": [-1, -2]}',
            "POST /vote [3, -2]",
            'POST /line {"features": [-1, -2]}',
        ),
    ),
    Notebook(
        "a store filled, changed and cut, with metadata",
        """
        notes = lab.vector_store("notes", dimension=2)
        for n in range(5):
            notes.add(f"n{n}", [1, n], {"n": n, "even": n % 2 == 0}, f"note {n}")
        # %%
        notes.delete("n3")
        notes.add("größe", [0, 1], {"n": 9, "even": False}, "ü")
        # %%
        @lab.post("/ask")
        def ask(v: list[float], even: bool = False):
            hits = notes.search(v, top_k=3, where={"even": even})
            return [[hit.id, hit.content, hit.metadata["n"]] for hit in hits]
        ask([1, 0])
        """,
        asks=('POST /ask {"v": [0, 1]}', 'POST /ask {"v": [1, 2], "even": true}'),
    ),
    Notebook(
        "a store changed after a recorded call",
        """
        notes = lab.vector_store("notes", dimension=2)
        notes.add("a", [1, 0], {}, "first")
        # %%
        @lab.post("/ask")
        def ask(v: list[float]):
            return [hit.id for hit in notes.search(v, top_k=5)]
        ask([1, 0])
        # %%
        notes.add("b", [0, 1], {}, "second")
        """,
        asks=('POST /ask {"v": [0, 1]}',),
    ),
    Notebook(
        "a store inside a dict and an object",
        """
        from conduit_lab import VectorStore
        class Shelf:
            def __init__(self, store, top):
                self.store, self.top = store, top
            def find(self, v):
                return [hit.id for hit in self.store.search(v, top_k=self.top)]
        stores = {"notes": lab.vector_store("notes", dimension=2)}
        stores["notes"].add("a", [1, 0], {}, "first")
        stores["notes"].add("b", [0, 1], {}, "second")
        shelf = Shelf(stores["notes"], 1)
        # %%
        @lab.post("/ask")
        def ask(v: list[float]):
            return [[hit.id for hit in stores["notes"].search(v)], shelf.find(v)]
        ask([1, 0])
        """,
        asks=('POST /ask {"v": [0, 1]}',),
    ),
    Notebook(
        "an endpoint that writes to a store",
        """
        notes = lab.vector_store("notes", dimension=2)
        notes.add("a", [1, 0], {}, "first")
        # %%
        @lab.post("/put")
        def put(id: str, v: list[float]):
            notes.add(id, v, {}, "new")
            return {"count": len(notes)}
        @lab.post("/ask")
        def ask(v: list[float]):
            return [hit.id for hit in notes.search(v)]
        # %%
        put("b", [0, 1]), ask([1, 0])
        """,
        asks=('POST /ask {"v": [0, 1]}', 'POST /put {"id": "c", "v": [1, 1]}'),
    ),
    Notebook(
        "a store of no app, and one in a function that makes it",
        """
        from conduit_lab import VectorStore
        local = VectorStore(dimension=2)
        local.add("a", [1, 0], {"n": 1}, "first")
        local.add("b", [0, 1], {"n": 2}, "second")
        # %%
        def fresh(words):
            store = VectorStore(dimension=2)
            for n, word in enumerate(words):
                store.add(word, [1, n], {}, word)
            return store
        # %%
        @lab.post("/ask")
        def ask(v: list[float], words: list[str]):
            return [[h.id for h in local.search(v)], [h.id for h in fresh(words).search(v)]]
        ask([1, 0], ["x"])
        """,
        asks=('POST /ask {"v": [0, 1], "words": ["x", "y"]}',),
    ),
    Notebook(
        "a Rag with a writer of its own",
        """
        from conduit_lab import Rag
        class Echo:
            def __init__(self, prefix):
                self.prefix = prefix
            def generate(self, *, query, context):
                return f"{self.prefix} {query}: {'; '.join(map(str, context))}"
        book = lab.vector_store("book", dimension=2)
        book.add("lids", [1, 0], {"section": "parts"}, "A lid is sold apart.")
        book.add("kettles", [0, 1], {"section": "parts"}, "A kettle is descaled once a month.")
        ask = lab.rag("/ask", Rag(book, Echo("re"), top_k=1, mode="lexical"))
        # %%
        ask("lid")
        ask.stream("kettle").result()
        """,
        asks=('POST /ask {"query": "kettle descaled"}',),
        refused=r"/ask",
        or_equal=True,
    ),
    Notebook(
        "a model's file replaced after it was loaded",
        """
        sign = lab.load_model("models/sign.npz")
        # %%
        @lab.post("/ask")
        def ask(x: list[float]):
            return sign.predict(x).label
        ask([1, 1])
        # %%
        import shutil
        _ = shutil.copy("models/mood.npz", "models/sign.npz")
        """,
        asks=_SIGN,
        refused=r"/ask.*sign|sign[\s\S]*changed",
    ),
    Notebook(
        "an estimator of scikit-learn, fitted in its own cell",
        """
        from sklearn.linear_model import LogisticRegression
        X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        clf = LogisticRegression()
        # %%
        clf.fit(X, y)
        # %%
        @lab.post("/ask")
        def ask(x: float):
            return [int(clf.predict([[x]])[0]), clf.coef_.round(6).tolist()]
        ask(0)
        """,
        asks=('POST /ask {"x": 2.5}', 'POST /ask {"x": -1}'),
        refused=r"/ask.*clf",
        or_equal=True,
        packages=("scikit-learn",),
    ),
)
