"""Rewritten patterns of public tutorials on models: all exports must be equal."""

from __future__ import annotations

from tests.export.notebooks.notebook import Notebook

NOTEBOOKS = (
    Notebook(
        "an image classifier: resize, normalize, predict, top k",
        """
        import base64
        import numpy as np

        IMAGE_SIZE = (2, 1)
        MEAN, STD = np.array([0.485]), np.array([0.229])
        LABELS = {"up": "bright", "down": "dark"}
        # %%
        session = lab.load_model("models/sign.npz")
        session
        # %%
        def preprocess(image):
            image = np.asarray(image, dtype=np.float32)
            height, width = image.shape
            ys = np.linspace(0, height - 1, IMAGE_SIZE[0]).round().astype(int)
            xs = np.linspace(0, width - 1, IMAGE_SIZE[1]).round().astype(int)
            small = image[np.ix_(ys, xs)] / 255.0
            return ((small - MEAN) / STD).astype(np.float32).ravel()

        def softmax_top(prediction, k=2):
            pairs = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
            return [{"label": LABELS[name], "score": round(float(p), 4)} for name, p in pairs[:k]]
        # %%
        dark = np.full((8, 8), 20.0)
        softmax_top(session.predict(preprocess(dark)))
        # %%
        @lab.post("/classify")
        def classify(pixels: list[list[float]], k: int = 2):
            return softmax_top(session.predict(preprocess(pixels)), k)

        classify(dark.tolist())
        """,
        asks=(
            'POST /classify {"pixels": [[250, 255], [240, 200]]}',
            'POST /classify {"pixels": [[0, 0, 9], [1, 2, 3]], "k": 1}',
        ),
    ),
    Notebook(
        "a sentiment classifier: tokens, vocabulary, logits",
        """
        import re
        import numpy as np

        texts = ["good fun", "very good", "bad plot", "so bad", "fun and good", "dull and bad"]
        labels = np.array([1, 1, 0, 0, 1, 0])
        tokenize = re.compile(r"[a-z]+").findall
        # %%
        vocabulary = {}
        for text in texts:
            for token in tokenize(text):
                vocabulary.setdefault(token, len(vocabulary))

        def encode(text):
            row = np.zeros(len(vocabulary))
            for token in tokenize(text.lower()):
                if token in vocabulary:
                    row[vocabulary[token]] += 1
            return row
        # %%
        features = np.stack([encode(text) for text in texts])
        rng = np.random.default_rng(0)
        weights = rng.normal(scale=0.01, size=len(vocabulary))
        bias = 0.0
        for step in range(200):
            p = 1 / (1 + np.exp(-(features @ weights + bias)))
            weights -= 0.5 * features.T @ (p - labels) / len(labels)
            bias -= 0.5 * float((p - labels).mean())
        # %%
        @lab.post("/sentiment")
        def sentiment(text: str):
            logit = float(encode(text) @ weights + bias)
            return {"label": "positive" if logit > 0 else "negative", "logit": logit}

        sentiment("good")
        """,
        asks=(
            'POST /sentiment {"text": "A dull plot"}',
            'POST /sentiment {"text": "very very fun!"}',
            'POST /sentiment {"text": ""}',
        ),
    ),
    Notebook(
        "semantic search over a small corpus",
        """
        embedder = lab.load_model("models/embedder")
        corpus = ["kettle lid", "pan", "lid pan pan", "kettle kettle pan"]
        corpus_embeddings = embedder.encode(corpus)
        # %%
        import numpy as np
        def semantic_search(query, top_k=2):
            query_embedding = embedder.encode(query)
            scores = corpus_embeddings @ query_embedding
            best = np.argsort(-scores, kind="stable")[:top_k]
            return [(corpus[i], float(scores[i])) for i in best]
        # %%
        for query in ["kettle", "lid pan"]:
            print(query, semantic_search(query))
        # %%
        store = lab.vector_store("corpus", embedder=embedder)
        for n, text in enumerate(corpus):
            store.add(str(n), embedder.encode(text), {"n": n}, text)
        # %%
        @lab.post("/search")
        def search(query: str, top_k: int = 2):
            hits = store.search(query, top_k=top_k)
            return {"manual": semantic_search(query, top_k), "store": [hit.id for hit in hits]}

        search("kettle")
        """,
        asks=('POST /search {"query": "pan lid", "top_k": 3}', 'POST /search {"query": "lid"}'),
        embedder=True,
    ),
    Notebook(
        "a pipeline of estimators, trained in the notebook",
        """
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import train_test_split
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rng = np.random.default_rng(0)
        X = rng.normal(size=(80, 3))
        y = (X[:, 0] - 2 * X[:, 1] > 0).astype(int)
        # %%
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        clf = make_pipeline(StandardScaler(), LogisticRegression())
        clf.fit(X_train, y_train)
        clf.score(X_test, y_test)
        # %%
        scaler, model = clf.steps[0][1], clf.steps[1][1]
        mean, scale = scaler.mean_, scaler.scale_
        coef, intercept = model.coef_[0], float(model.intercept_[0])
        # %%
        @lab.post("/predict")
        def predict(features: list[float]):
            z = (np.asarray(features) - mean) / scale
            p = 1 / (1 + np.exp(-(z @ coef + intercept)))
            return {"class": int(p > 0.5), "probability": float(p)}

        predict([0, 0, 0])
        """,
        asks=(
            'POST /predict {"features": [1, -1, 0.5]}',
            'POST /predict {"features": [-1, 2, 0.5]}',
        ),
    ),
    Notebook(
        "a neural network from scratch",
        """
        import numpy as np
        np.random.seed(42)
        X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
        y = np.array([[0], [1], [1], [0]], dtype=float)
        # %%
        class Layer:
            def __init__(self, n_in, n_out):
                self.W = np.random.randn(n_in, n_out)
                self.b = np.zeros((1, n_out))
            def forward(self, x):
                self.x = x
                self.out = 1 / (1 + np.exp(-(x @ self.W + self.b)))
                return self.out
            def backward(self, grad, lr):
                delta = grad * self.out * (1 - self.out)
                before = delta @ self.W.T
                self.W -= lr * self.x.T @ delta
                self.b -= lr * delta.sum(axis=0, keepdims=True)
                return before
        # %%
        layers = [Layer(2, 4), Layer(4, 1)]
        losses = []
        for epoch in range(500):
            out = X
            for layer in layers:
                out = layer.forward(out)
            grad = 2 * (out - y) / len(y)
            for layer in reversed(layers):
                grad = layer.backward(grad, 1.0)
            losses.append(float(((out - y) ** 2).mean()))
        # %%
        W1, b1 = layers[0].W, layers[0].b
        W2, b2 = layers[1].W, layers[1].b
        sigmoid = lambda z: 1 / (1 + np.exp(-z))
        # %%
        @lab.post("/xor")
        def xor(x: list[float]):
            out = sigmoid(sigmoid(np.array([x]) @ W1 + b1) @ W2 + b2)
            return {"out": float(out[0, 0]), "epochs": len(losses)}

        xor([0, 1])
        """,
        asks=('POST /xor {"x": [1, 1]}', 'POST /xor {"x": [0.5, 0.1]}'),
    ),
    Notebook(
        "questions over pages of markdown",
        """
        import re
        from pathlib import Path
        from conduit_lab import Rag
        embedder = lab.load_model("models/embedder")
        pages = {path.stem: path.read_text("utf-8") for path in sorted(Path("docs").glob("*.md"))}
        # %%
        def sections(page, text):
            for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
                title, _, body = block.partition("\\n")
                yield f"{page}#{title.strip()}", body.strip()
        # %%
        book = lab.vector_store("book", embedder=embedder)
        for page, text in pages.items():
            for id, body in sections(page, text):
                book.add(id, embedder.encode(body), {"page": page}, body)
        # %%
        class FirstSentence:
            def generate(self, *, query, context):
                return f"{query} -> {str(context[0]).split('.')[0]}." if context else "unknown"

        writer = FirstSentence()
        rag = Rag(book, writer, top_k=1, mode="lexical")
        # %%
        @lab.post("/ask")
        def ask(question: str):
            hits = book.search(question, top_k=2, mode="lexical")
            answer = writer.generate(query=question, context=[hit.content for hit in hits])
            return {"answer": answer, "sources": [hit.id for hit in hits]}

        ask("cat")
        answer = lab.rag("/rag", rag)
        answer("cat"), answer.stream("cat").result()
        """,
        asks=(
            'POST /ask {"question": "dog"}',
            'POST /ask {"question": "mat"}',
            'POST /rag {"query": "dog"}',
        ),
        files={
            "docs/cats.md": "# Cats\n\n## Food\nA cat eats fish. It sleeps.\n\n## Mat\nThe mat.\n",
            "docs/dogs.md": "# Dogs\n\n## Walks\nThe dog ran. It barks.\n",
        },
        embedder=True,
    ),
    Notebook(
        "two models compared on the same traffic",
        """
        import hashlib
        import numpy as np
        a, b = lab.load_model("models/sign.npz"), lab.load_model("models/mood.npz")
        SPLIT = 0.3
        # %%
        data = np.random.default_rng(1).normal(size=(20, 2)).astype("float32")
        truth = data.sum(axis=1) > 0
        scores = {}
        for name, model in {"a": a, "b": b}.items():
            guesses = [model.predict(row).label in ("up", "glad") for row in data]
            scores[name] = float(np.mean(np.array(guesses) == truth))
        scores
        # %%
        def arm(user):
            digest = hashlib.sha256(user.encode()).digest()
            return "b" if digest[0] / 255 < SPLIT else "a"
        # %%
        @lab.post("/score")
        def score(user: str, x: list[float]):
            name = arm(user)
            found = (a if name == "a" else b).predict(x)
            return {"arm": name, "label": found.label, "score": found.score, "known": scores[name]}

        score("ada", [1, 1])
        """,
        asks=(
            'POST /score {"user": "bob", "x": [-1, 0.5]}',
            'POST /score {"user": "eve", "x": [2, 0.5]}',
            'POST /score {"user": "u17", "x": [2, 0.5]}',
        ),
    ),
)
