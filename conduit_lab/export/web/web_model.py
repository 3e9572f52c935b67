"""WebModel: a model as a file of the page, and the facts that JavaScript needs to run it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.views import figures
from conduit_lab.export.web.program import Untraceable
from conduit_lab.models.answers import classifier_outputs
from conduit_lab.models.model import Model
from conduit_lab.runtime.checks.classes import class_labels
from conduit_lab.runtime.rewriting.portable_graph import portable_graph
from conduit_lab.runtime.sessions.cache import current_content

MAX_MODEL_BYTES = 2**30  # of weights; the browser holds both the file and its tensors

_INPUTS = frozenset({"float32", "float64", "int32", "int64", "uint8", "int8", "bool"})
_OUTPUTS = _INPUTS | {"str"}
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class WebModel:
    """The `place` of a model's file in the page, its bytes, and its `facts` as JSON."""

    place: str
    content: bytes
    facts: dict[str, Any]

    @classmethod
    def of(cls, name: str, model: Model) -> WebModel:
        """Return the model under `name`; raise `Untraceable` if a browser cannot run it."""
        if model.size > MAX_MODEL_BYTES:
            raise Untraceable(
                f"runs {name}, whose weights are {figures.size(model.size)}: the limit of a page "
                f"is {figures.size(MAX_MODEL_BYTES)}",
                (name,),
            )
        layout = model.layout
        for spec, axis in zip(model.inputs, layout.inputs, strict=True):
            _check(name, spec, axis, "takes", _INPUTS)
        for spec, axis in zip(model.outputs, layout.outputs, strict=True):
            _check(name, spec, axis, "gives", _OUTPUTS)
        if layout.size > 1:
            raise Untraceable(f"runs {name}, whose batch size is fixed to {layout.size}", (name,))
        probabilities, own = classifier_outputs(model.outputs)
        path = model.shared.path
        if current_content(path) != model.shared.key[0]:
            raise Untraceable(f"runs {name}, whose file has changed: run {name}.reload()", (name,))
        classes = class_labels(path) if own is not None else ()
        facts = {
            "inputs": [_facts(s, a) for s, a in zip(model.inputs, layout.inputs, strict=True)],
            "outputs": [_facts(s, a) for s, a in zip(model.outputs, layout.outputs, strict=True)],
            "labels": model.labels,
            "classes": [{"text": str(c), "isText": isinstance(c, str)} for c in classes],
            "probabilities": probabilities,
            "own": own,
            "classifies": model.gives == "Prediction",
        }
        place = f"models/{_UNSAFE.sub('-', name) or 'model'}.onnx"
        return cls(place, portable_graph(path), facts)


def _facts(spec: TensorSpec, axis: int | None) -> dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": list(spec.shape) if spec.ranked else None,
        "rows": axis == 0,
    }


def _check(
    name: str, spec: TensorSpec, axis: int | None, verb: str, dtypes: frozenset[str]
) -> None:
    if spec.dtype not in dtypes:
        hint = ""
        if spec.dtype.startswith("seq(map("):
            hint = ": convert it with zipmap=False"
        raise Untraceable(f"runs {name}, which {verb} {spec.name} as {spec.dtype}{hint}", (name,))
    if axis not in (0, None) or (verb == "takes" and not spec.ranked):
        raise Untraceable(
            f"runs {name}, which {verb} {spec.name} {spec} with its rows along another axis",
            (name,),
        )
