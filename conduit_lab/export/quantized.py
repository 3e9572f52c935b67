"""Quantized: int8 versions of an app's models, in its export only, validated by recorded calls.

Models keep their path and name, so `app.py` does not change, and a model that goes back to float32
gets its original file back.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from conduit_lab.core.errors import ConduitError, ExportError
from conduit_lab.core.paths import display
from conduit_lab.core.progress import STEP, counted, progress
from conduit_lab.core.views import figures
from conduit_lab.export.agreement import largest_difference
from conduit_lab.export.closure import Closure
from conduit_lab.export.graph_facts import record_graphs
from conduit_lab.export.replay import Outcome
from conduit_lab.export.state.compared import reached_models
from conduit_lab.export.state.resources import model_text
from conduit_lab.export.state.walk import StateLine
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.subject import graph_of, subject
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.checks import graph
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.rewriting import child
from conduit_lab.runtime.sessions.session import Session
from conduit_lab.serving.app import App
from conduit_lab.serving.recorded import Example
from conduit_lab.vectors.identity import record_embedder
from conduit_lab.vectors.store import VectorStore

OptimizeKind = Literal["int8"]


def check_optimize(optimize: str | None, proof: str | None) -> None:
    """Raise `ExportError` for an invalid `optimize=`, or for one without a proof."""
    if optimize not in ("int8", None):
        raise ExportError(f'optimize= expected "int8" or None, got {optimize!r}')
    if optimize is not None and proof is None:
        raise ExportError(
            f"optimize={optimize!r} needs a proof, which compares the answers: remove proof=None"
        )


@dataclass(eq=False)
class QuantizedModel:
    """A model's graph in an export: in int8, or in float32 with a `reason`.

    `places` are the paths of its files in the export, one per file with this content, and `size` is
    its size in bytes before and after. `difference` is the largest difference between two numbers
    in the answers of the calls that used it, or None if they had no numbers.
    """

    models: list[Any]  # of `FileModel`
    places: list[PurePath] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    content: str = ""  # of the graph in the export
    reason: str = ""
    difference: float | None = None

    @property
    def name(self) -> str:
        """The names of its models."""
        return ", ".join(dict.fromkeys(model.name for model in self.models))

    @property
    def kind(self) -> str:
        """The precision of the model in the export."""
        return "float32" if self.reason else "int8"

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name}: float32, {self.reason}"
        before, after = map(figures.size, self.size)
        line = f"{self.name}: int8, {before} → {after}"
        if self.difference is None:
            return f"{line}, no numbers in its answers"
        return f"{line}, largest difference {self.difference:.2g}"

    def to_json(self) -> dict[str, Any]:
        """Return the model's entry in the manifest."""
        record: dict[str, Any] = {
            "model": self.name,
            "files": [place.as_posix() for place in self.places],
            "precision": self.kind,
        }
        if any(self.size):
            record["bytes"] = {"float32": self.size[0], "int8": self.size[1]}
        if self.reason:
            return {**record, "reason": self.reason}
        return {**record, "largest_difference": self.difference}


class Quantized:
    """The models that the endpoints of `closure` reach, written to `folder` in int8.

    The session's models and files are not changed.
    """

    def __init__(self, app: App, closure: Closure, folder: Path) -> None:
        self._closure = closure
        self._folder = folder
        names = closure.namespace
        self._reached = {
            (each.method, each.path): reached_models(each, names.names, app.root, names.is_builtin)
            for each in closure.endpoints
        }
        self.models = _by_content(model for each in self._reached.values() for model in each)
        with progress(len(self.models), STEP, "int8"):
            for model in counted(self.models, STEP):
                self._convert(model)
        self._name_embedders(self.models)

    def lines(self, lines: Sequence[StateLine]) -> list[StateLine]:
        """Return the lines of a state with each model's content as it is in the export."""
        texts = {
            model_text(model, model.shared.key[0]): model_text(model, quantized.content)
            for quantized in self.models
            if not quantized.reason
            for model in quantized.models
        }
        return [StateLine(line.place, texts.get(line.text, line.text)) for line in lines]

    def record_facts(self) -> None:
        """Record the facts of the export's graphs, including those in int8."""
        held = [
            self._opened(model, quantized)  # reads all facts that opening requires
            for quantized in self.models
            if not quantized.reason
            for model in quantized.models
        ]
        changed = {place for each in self.models if not each.reason for place in each.places}
        graphs = self._closure.assets.graphs
        files = [self._folder / place if place in changed else graphs[place] for place in graphs]
        record_graphs(files, self._folder)
        del held  # held until here, so that no file is opened twice

    def examples(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples, marking those whose answers involve an int8 model."""
        return [replace(each, int8=bool(self._taking_part(each))) for each in examples]

    def take_back(self, outcome: Outcome) -> bool:
        """Restore to float32 one model of a call whose answer differs; False if none is in int8.

        Of several, restore the one that differs most on dummy inputs.
        """
        found = self._taking_part(outcome.example)
        if not found:
            return False
        worst = found[0] if len(found) == 1 else max(found, key=self._measured)
        worst.reason = f"since {outcome.endpoint} answers differently in int8: {outcome.problem}"
        for place in worst.places:
            self._replace(place, self._closure.assets.origin(place))
        self._name_embedders([worst])
        return True

    def measure(self, outcomes: Sequence[Outcome]) -> None:
        """Record the largest difference for each int8 model, from the answers of a proof."""
        for outcome in outcomes:
            found = largest_difference(outcome.example.answer, outcome.got)
            for model in self._taking_part(outcome.example) if found is not None else ():
                model.difference = max(found or 0.0, model.difference or 0.0)

    def _taking_part(self, example: Example) -> list[QuantizedModel]:
        """Return the int8 models that an example's endpoint reaches."""
        reached = self._reached.get((example.method, example.path), [])
        return [
            quantized
            for quantized in self.models
            if not quantized.reason
            and any(one is model for one in reached for model in quantized.models)
        ]

    def _convert(self, quantized: QuantizedModel) -> None:
        """Convert the model's files in the export to int8; on failure record the reason."""
        if quantized.reason:
            return
        try:
            old = subject(quantized.models[0])
        except (ConduitError, TypeError) as error:
            quantized.reason = _reason(quantized.models[0], error)
            return
        quantized.places = [
            place
            for model in quantized.models
            for place in self._closure.assets.places_of(subject(model).path)
        ]
        with tempfile.TemporaryDirectory(prefix="conduit-lab-") as scratch:
            made = Path(scratch, old.path.name)
            try:
                piece = old.pieces(old.dummy_samples())[0]
                child.convert_in_child(old.path, made, "int8", old.options, None, piece)
            except ConduitError as error:
                quantized.reason = _reason(old.model, error)
                return
            before, after = check_graph(old.path), check_graph(made)
            quantized.size = before.size, after.size
            quantized.content = after.content
            if after.size >= before.size:
                sizes = " and ".join(map(figures.size, quantized.size))
                quantized.reason = f"int8 is no smaller: {sizes}"
                return
            for place in quantized.places:
                self._replace(place, made)

    def _measured(self, quantized: QuantizedModel) -> tuple[float, float]:
        """Return the label mismatch rate and the relative difference on dummy inputs."""
        old = subject(quantized.models[0])
        paths = old.path, self._folder / quantized.places[0]
        before, after = (Session(path, old.options) for path in paths)
        found = old.difference(before, after, old.dummy_samples())
        return 1 - (1.0 if found.same_label is None else found.same_label), found.relative

    def _replace(self, place: PurePath, source: Path) -> None:
        """Replace a graph and its external data in the export."""
        target = self._folder / place
        others = [path for path in target.parent.glob("*.onnx") if path != target]
        files = set(check_graph(target).files)
        if len(files) > 1:  # another graph may store its weights in the same file
            files -= {file for path in others for file in graph.files(path)}
        for path in files:
            path.unlink()
        for path in check_graph(source).files:
            copy = target.parent / path.relative_to(source.parent)
            shutil.copy2(path, copy)

    def _opened(self, model: Any, quantized: QuantizedModel) -> Any:
        """Open a model's file or folder in the export."""
        place = (self._closure.assets.places_of(graph_of(model)) or quantized.places)[0]
        options = model.options
        chosen: dict[str, Any] = {"device": options.device, "fallback": options.fallback}
        path = self._folder / place
        if not isinstance(model, Model):
            depth = len(graph_of(model).relative_to(model.path).parts)
            path = self._folder / place.parents[depth - 1]
            chosen["variant"] = model.variant
        return load_model(path, type(model), name=model.name, **chosen).open()

    def _name_embedders(self, changed: Sequence[QuantizedModel]) -> None:
        """Record the int8 embedder in the exported stores; their vectors do not change."""
        for label, store in self._closure.assets.stores.items():
            embedder = store.embedder
            held = [each for each in changed if any(embedder is model for model in each.models)]
            if not held or not isinstance(embedder, Embedder):
                continue
            here = self._opened(embedder, held[0])
            with VectorStore(path=self._folder / "indexes" / f"{label}.sqlite") as copy:
                record_embedder(copy._opened(), here)


def _by_content(models: Iterable[FileModel[Any]]) -> list[QuantizedModel]:
    """Return one entry per graph; models with the same content share it.

    A model that fails to open, and is served by its fallback, gets a reason.
    """
    found: dict[str, QuantizedModel] = {}
    for model in models:
        try:
            content, reason = model.shared.key[0], ""
        except ConduitError as error:
            content, reason = str(model.path), str(error).replace(display(model.path), "it")
        entry = found.setdefault(content, QuantizedModel([], reason=reason))
        if not any(model is one for one in entry.models):
            entry.models.append(model)
    return list(found.values())


def _reason(model: FileModel[Any], error: Exception) -> str:
    """Explain why a model cannot be converted, without paths of this machine."""
    if not isinstance(error, ConduitError):
        return f"a {type(model).__name__} is not quantized"
    path = graph_of(model) if isinstance(model, Model | Embedder | Classifier) else model.path
    return str(error).replace(display(path), "it")
