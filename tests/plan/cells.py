"""The six pieces of the plan, as the cells of a notebook; `ROOT` is the project, `app` a `Lab`."""

CELLS = [
    """
from conduit_lab import Lab, VectorStore, load_model, majority_vote

app = Lab("plan", root=ROOT)
embedder = app.load_model("data/models/minilm")
category_model = app.load_model("data/models/topic.onnx")
sentiment_model = app.load_model("data/models/mood.npz")
docs = VectorStore(dimension=384)
""",
    """
@app.ml_stream("/generate")
async def generate(request):
    model = load_model("data/models/topic.onnx")
    data = request.parse_json()
    for word in data["prompt"].split():
        yield {"chunk": f"{word} ({model.predict(embedder.encode(word)).label}) ", "complete": False}
    yield {"chunk": "", "complete": True}
""",
    """
@app.ml_pipeline("/analyze")
def analyze_pipeline(input_data):
    embedding = embedder.encode(input_data["text"])
    category = category_model.predict(embedding)
    sentiment = sentiment_model.predict(embedding)
    confidence = min(category.score, sentiment.score)
    return {"category": category.label, "sentiment": sentiment.label, "confidence": confidence}
""",
    """
@app.ml_ensemble("/vote", models=["data/models/m1.npz", "data/models/m2.npz", "data/models/m3.npz"])
def vote(predictions):
    return majority_vote(predictions)


@app.ml_endpoint("/predict", model="data/models/v2.onnx", fallback="data/models/m1.npz")
def prepare(input_data):
    return input_data["features"]
""",
    """
@app.post("/vectors/add")
def add_vector(request):
    data = request.parse_json()
    docs.add(data["id"], embedder.encode(data["metadata"]["content"]), data["metadata"])
    return {"status": "added", "count": len(docs)}


@app.post("/vectors/search")
def search_vectors(request):
    data = request.parse_json()
    return {"results": docs.search(embedder.encode(data["query"]), top_k=data.get("top_k", 5))}
""",
    """
class BestSentence:
    \"\"\"Answers with the sentence of the context that is closest to the question.\"\"\"

    def generate(self, *, query, context):
        sentences = [s.strip() for passage in context for s in passage.split(".") if s.strip()]
        scores = embedder.encode(sentences) @ embedder.encode(query)
        return sentences[int(scores.argmax())] + "."


generator = BestSentence()


@app.post("/rag/query")
def rag_query(request):
    query = request.parse_json()["query"]
    found = docs.search(embedder.encode(query), top_k=3)
    response = generator.generate(query=query, context=[doc["content"] for doc in found])
    return {"response": response, "sources": [doc["id"] for doc in found]}
""",
]

PASSAGES = {
    "returns": "Send anything back within 30 days. We pay the postage when it is broken.",
    "delivery": "A parcel takes two to four working days. The courier calls before a large appliance comes.",
    "accounts": "A new password needs twelve characters. The reset link works for 45 minutes.",
}
