"""Endpoints keep the signature of their function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from conduit_lab import App, Generator, Lab, Rag, Stream, VectorStore

app = App("desk")
lab = Lab("desk")


@app.post("/analyze")
def analyze(text: str, limit: int = 5) -> dict[str, float]:
    return {text: limit}


assert_type(analyze("kettle"), dict[str, float])
assert_type(analyze("kettle", limit=3), dict[str, float])
assert_type(analyze.path, str)
analyze(1, 2, 3, bogus=True)  # error
analyze()  # error
analyze("kettle", limit="3")  # error
print(analyze.trail)  # error


@lab.ml_pipeline("/refund")
def refund(order: int) -> str:
    return str(order)


assert_type(refund(3), str)
refund("3")  # error


@app.get("/parcel")
async def parcel(number: int) -> list[str]:
    return [str(number)]


async def use_parcel() -> None:
    assert_type(await parcel(1), list[str])
    await parcel()  # error


@lab.ml_stream("/generate")
def generate(prompt: str, max_tokens: int = 64) -> Iterator[str]:
    yield from prompt[:max_tokens]


assert_type(generate("kettle"), Stream[str])
generate(max_tokens=3)  # error
print(generate("kettle").result().trail)  # error


@lab.ml_stream("/count")
async def count(to: int) -> AsyncIterator[int]:
    for n in range(to):
        yield n


assert_type(count(3), Stream[int])
count("3")  # error


@lab.ml_endpoint("/predict", model="topic.onnx", fallback="topic.npz")
def prepare(features: list[float]) -> list[float]:
    return features


prepare([0.0])
prepare("kettle")  # error


def ask_handbook(writer: Generator) -> None:
    ask = lab.rag("/ask", Rag(VectorStore(384), writer))
    print(ask("Where is my parcel?").trail)  # error
    ask(bogus=True)  # error
