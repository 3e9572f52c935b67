"""Subject: a model to `optimize` or `tune`: its file, inputs and difference from another file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from conduit_lab.core.errors import ConduitError, InputError, ModelInputError, OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.difference import Difference, compare_outputs, outputs_by_sample
from conduit_lab.models.measure.sentences import SENTENCES
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.encoder import Encoder
from conduit_lab.models.text.folder import Folder
from conduit_lab.models.text.token_graph import TokenRows
from conduit_lab.runtime.rewriting import child, dummy_inputs
from conduit_lab.runtime.sessions.cache import Shared
from conduit_lab.runtime.sessions.session import Session

GraphInputs = dict[str, Array]
GraphModel = Model | Embedder | Classifier  # the models that `optimize` and `tune` take

_DUMMY_ROWS = 32


class ModelSubject:
    """A `Model` of an ONNX file, with inputs of `predict` as samples."""

    def __init__(self, model: Model) -> None:
        self.model = model.open()
        self.path, self.options = model.path, model.options

    def dummy_samples(self, argument: str = "samples") -> Any:
        """Return dummy inputs from the specs; raise `ModelInputError` if the graph rejects them.

        `argument` is the parameter that the error suggests.
        """
        made = dummy_inputs.make_inputs(self.path, self.model.inputs, _DUMMY_ROWS, argument)
        try:
            self.model.shared.run(self.pieces(made)[0], count=False)
        except ConduitError as error:
            reason = f"{self.model.name!r} does not take dummy inputs ({error})"
            raise ModelInputError(
                dummy_inputs.ask_for_samples(reason, self.model.inputs, argument)
            ) from error
        return made

    def pieces(self, samples: Any) -> list[GraphInputs]:
        """Return the graph's input arrays for `samples`, one dict per run."""
        given = self.model.feeds(samples)
        if given.rows == 0:
            raise InputError(f"samples for {self.model.name!r} are empty: expected at least one")
        arrays = {name: np.asarray(array) for name, array in given.arrays.items()}
        layout = self.model.layout
        return layout.pieces(arrays, layout.size or _DUMMY_ROWS)

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Compare the answers of two files."""
        pieces, layout = self.pieces(samples), self.model.layout
        old, new = (
            outputs_by_sample(layout, [session.run(piece) for piece in pieces])
            for session in (before, after)
        )
        rows = sum(layout.rows(piece) for piece in pieces)
        return compare_outputs(old, new, labelled=self.model.labels is not None, samples=rows)

    def opened(self, path: Path) -> Model:
        """Return the model of another file, opened with the same options."""
        options, labels = self.options, self.model.given_labels
        return load_model(
            path,
            Model,
            device=options.device,
            fallback=options.fallback,
            timeout=options.timeout,
            labels=labels,
        )


class TextSubject(ABC):
    """A text model in a folder, with texts as samples."""

    def __init__(self, model: Embedder | Classifier) -> None:
        self.model = model.open()
        self.options = model.options
        self.path = graph_of(model)

    def dummy_samples(self, argument: str = "samples") -> Any:
        """Return sentences of different lengths."""
        return list(SENTENCES)

    def pieces(self, samples: Any) -> list[GraphInputs]:
        """Return the graph's input arrays for the texts, one dict per run."""
        pieces = self.model.feeds(samples)
        if not pieces:
            raise InputError(
                f"samples for {self.model.name!r} are empty: expected at least one text"
            )
        return pieces

    @abstractmethod
    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Compare the answers of two files."""

    def opened(self, path: Path) -> Embedder | Classifier:
        """Return the model of another graph in the folder, opened with the same options."""
        options = self.options
        labels = self.model.given_labels if isinstance(self.model, Classifier) else None
        kind: type[Any] = type(self.model)
        model: Embedder | Classifier = load_model(
            self.model.path,
            kind,
            variant=path.stem.removeprefix("model_"),
            device=options.device,
            fallback=options.fallback,
            timeout=options.timeout,
            labels=labels,
        )
        return model


class EmbedderSubject(TextSubject):
    """An `Embedder`, compared by its vectors."""

    model: Embedder

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Compare the vectors of two files."""
        old, new = (self._vectors(session, samples) for session in (before, after))
        return compare_outputs([old], [new], vectors=True)

    def _vectors(self, session: Session, texts: Any) -> FloatArray:
        """Encode with the folder's tokenizer and pooling, and a graph from outside the folder."""
        opened = self.model._parts()
        shared = cast(Shared, _UnsharedSession(session))
        tokens, padding = opened.tokenizer.vocabulary_size, opened.token_graph.padding
        encoder = Encoder(opened.folder, shared, tokens, padding)
        windows = map(self.model._encoder(opened), self.model._windows(texts))
        return np.concatenate([encoder.vectors(window) for window in windows])


class ClassifierSubject(TextSubject):
    """A `Classifier`, compared by the scores of its labels, per text or per token."""

    model: Classifier

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Compare the scores of two files, and the label of each text or token."""
        windows = list(map(self.model._encoder(self.model._parts()), self.model._windows(samples)))
        old, new = (self._scores(session, windows) for session in (before, after))
        rows = sum(len(window.ids) for window in windows)
        return compare_outputs([old], [new], labelled=old.shape[1] > 1, samples=rows)

    def _scores(self, session: Session, windows: Sequence[TokenRows]) -> FloatArray:
        """Return float32 `[texts, labels]`, or `[tokens, labels]`."""
        opened = self.model._parts()
        shared, scores = cast(Shared, _UnsharedSession(session)), self.model._scores(opened.config)
        padding = opened.token_graph.padding
        graph = self.model._logits(shared, opened.tokenizer, padding, scores)
        answers = (np.atleast_2d(row) for window in windows for row in graph.answers(window))
        return np.concatenate(list(answers))


class _UnsharedSession:
    """A session with the interface of `Shared`."""

    def __init__(self, session: Session) -> None:
        self.inputs, self.outputs, self.device = session.inputs, session.outputs, session.device
        self._session = session

    def run(self, feeds: GraphInputs, rows: int = 1, *, count: bool = True) -> list[Array]:
        return self._session.run(feeds)


def graph_of(model: GraphModel) -> Path:
    """Return a model's own graph or weights; opens nothing.

    The opened session's path may differ: another file with the same content may have been opened
    first.
    """
    if isinstance(model, Model):
        return model.path
    if isinstance(model, Embedder):
        return Folder.read(model.path).graph(model.variant)
    return choose_graph(find_graphs(model.path), model.variant, model.path)


def subject(model: GraphModel | str | Path) -> ModelSubject | TextSubject:
    """Return the subject for a model or a path; raise `OptimizeError` for `.npz` weights."""
    chosen: Any = load_model(model, lazy=True) if isinstance(model, str | Path) else model
    if isinstance(chosen, Embedder | Classifier):
        if not chosen.loaded:
            child.try_opening(graph_of(chosen), chosen.options)
        return (
            EmbedderSubject(chosen) if isinstance(chosen, Embedder) else ClassifierSubject(chosen)
        )
    if not isinstance(chosen, Model):
        raise TypeError(
            "optimize expects a model of an ONNX file, an embedder, a text or token classifier, "
            f"or a path, got {type(chosen).__name__}"
        )
    if chosen.path.suffix == ".npz":
        raise OptimizeError(
            f"{display(chosen.path)} has nothing to optimize: NumPy computes it in float32; "
            "write the network as .onnx"
        )
    if not chosen.loaded:
        child.try_opening(chosen.path, chosen.options)
    return ModelSubject(chosen)
