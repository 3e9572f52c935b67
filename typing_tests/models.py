"""Loaded models have types."""

from __future__ import annotations

from typing import assert_type

from conduit_lab import CallableModel, Embedder, Lab, Model, load_model

lab = Lab("desk")


def double(value: float) -> float:
    return 2 * value


assert_type(load_model(double), CallableModel)
assert_type(lab.load_model(double), CallableModel)
load_model("topic.onnx", device="cpu", labels=["returns", "delivery"], lazy=True)
load_model(3)  # error
lab.load_model(3)  # error
load_model("topic.onnx", devise="cpu")  # error
lab.load_model("topic.onnx", devise="cpu")  # error
assert_type(load_model("minilm", Embedder), Embedder)
assert_type(lab.load_model("minilm", Embedder), Embedder)
print(load_model("topic.onnx", Model).trail)  # error
print(lab.load_model("topic.onnx", Model).trail)  # error
load_model("topic.onnx", str)  # error
load_model("writer", rows=8, context=2048)
lab.load_model("writer", rows=8, context=2048)
load_model("writer", rows="many")  # error
lab.load_model("writer", rows="many")  # error


def use(topic: Model) -> None:
    topic.predict([[0.0]])
    topic.predict()  # error
    topic.swap(3)  # error
