"""Six features as the cells that a user would write; `ROOT` is defined before them."""

SETUP = """
import numpy as np
from conduit_lab import Lab, VectorStore, load_model, majority_vote

app = Lab("plan", root=ROOT)
embedder = app.load_model("data/models/minilm")
category_model = app.load_model("data/models/topic.onnx")
sentiment_model = app.load_model("data/models/mood.npz")
"""

STREAM = """
@app.ml_stream("/generate")
def generate(request):
    model = load_model("data/models/topic.onnx")
    data = request.parse_json()
    for word in data["prompt"].split():
        yield {"chunk": f"{word}: {model.predict(embedder.encode(word)).label} ", "complete": False}
    yield {"chunk": "", "complete": True}
"""

PIPELINE = """
# how much the category weighs in the confidence
CATEGORY_WEIGHT = 0.6

def confidence_of(category, sentiment):
    return CATEGORY_WEIGHT * category.score + (1 - CATEGORY_WEIGHT) * sentiment.score

@app.ml_pipeline("/analyze")
def analyze_pipeline(input_data):
    embedding = embedder.encode(input_data["text"])
    category = category_model.predict(embedding)
    sentiment = sentiment_model.predict(embedding)
    confidence = confidence_of(category, sentiment)
    return {"category": category, "sentiment": sentiment, "confidence": confidence}
"""

ENSEMBLE = """
@app.ml_ensemble("/vote", models=["data/models/m1.npz", "data/models/m2.npz", "data/models/m3.npz"])
def vote(predictions):
    return majority_vote(predictions)
"""

FALLBACK = """
@app.ml_endpoint("/predict", model="data/models/v2.onnx", fallback="data/models/m1.npz")
def prepare(input_data):
    return input_data["features"]
"""

VECTORS = """
store = VectorStore(dimension=384)

@app.post("/vectors/add")
def add_vector(id: str, text: str, metadata: dict | None = None):
    store.add(id, embedder.encode(text), {**(metadata or {}), "content": text})
    return {"id": id, "count": len(store)}

@app.post("/vectors/search")
def search_vectors(query: str, top_k: int = 3):
    return {"results": store.search(embedder.encode(query), top_k=top_k)}
"""

RAG = """
class BestSentence:
    # in place of a language model: the sentence of the context that is nearest to the question
    def generate(self, query, context):
        parts = [s.strip() for passage in context for s in passage.split(".")]
        sentences = [part + "." for part in parts if part]
        return sentences[int(np.argmax(embedder.encode(sentences) @ embedder.encode(query)))]

writer = BestSentence()

@app.post("/rag/query")
def rag_query(query: str):
    hits = store.search(embedder.encode(query), top_k=2)
    response = writer.generate(query=query, context=[hit.content for hit in hits])
    return {"response": response, "sources": [{"id": hit.id, "score": hit.score} for hit in hits]}
"""

CELLS = [SETUP, STREAM, PIPELINE, ENSEMBLE, FALLBACK, VECTORS, RAG]

PASSAGES = {
    "kettle": "A kettle that no longer heats is repaired for free. Bring it to any shop.",
    "parcel": "A parcel takes three days. Its number is in the mail that we sent you.",
    "return": "Send things back within thirty days. We pay the money back at once.",
}

TRIED = (
    """
import json
stream = generate({"prompt": "parcel password"})
chunks = stream.result()
features = embedder.encode("where is my parcel").tolist()
"""
    + f"for id, text in {PASSAGES!r}.items():\n    add_vector(id, text, {{'part': id}})\n"
    + """
answers = {
    "generate": chunks,
    "analyze": analyze_pipeline({"text": "The kettle is dead and nobody answers."}),
    "vote": vote(features),
    "predict": prepare({"features": features}),
    "search": search_vectors(query="my kettle is broken", top_k=2),
    "rag": rag_query(query="How long does a parcel take?"),
}
def plain(value):
    if hasattr(value, "keys"):
        return dict(value)
    return list(value) if hasattr(value, "__iter__") else float(value)
print(json.dumps(answers, default=plain))
"""
)
