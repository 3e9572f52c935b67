"""Subject: a model as `optimize` sees it: its file, its inputs, and how far another file is from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from conduit_lab.core.errors import ConduitError, InputError, ModelInputError, OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.difference import Difference, between, by_sample
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.encoder import Encoder
from conduit_lab.models.text.folder import Folder
from conduit_lab.models.text.token_graph import Rows
from conduit_lab.runtime.rewriting import child, dummy_inputs
from conduit_lab.runtime.sessions.cache import Shared
from conduit_lab.runtime.sessions.session import Session

Feeds = Mapping[str, Array]
ROWS = 32

# Of different length, subject and kind, since an embedder's answer hangs on all of them
SENTENCES = (
    "Hello!",
    "rain",
    "Thank you very much.",
    "Is this seat taken?",
    "42 apples and 7 pears",
    "The cat sleeps on the warm roof.",
    "Please close the door behind you, the dog runs away otherwise.",
    "How do I change the address of an order that I placed this morning?",
    "The committee postponed its decision until the new figures are in.",
    "Water boils at a lower temperature in the mountains than at the sea.",
    "I never said that she took the money.",
    "Chop the onions, fry them in butter until they are golden, and add the rice.",
    "return sum(x * x for x in values) / len(values)",
    "Our train was late, so we missed the ferry and spent the night in a small hotel by the harbour.",
    "Interest rates rose again, and with them the cost of every house that is not paid for yet.",
    "ERROR 503: the service is not available, try again in 30 seconds",
    "He had the patience of a gardener and the temper of the weather.",
    "Which of the two medicines should be taken before a meal?",
    "Light takes a little more than eight minutes from the sun to the earth; what we see of it is already past.",
    "The contract ends on 31 December unless one of the parties extends it in writing three months before.",
    "Goal! Two minutes before the end, and nobody on the left wing had seen him coming.",
    "She tuned the old violin, played three notes, shook her head and tuned it again.",
    "A battery that is kept half full in a cool place lives longest.",
    "Nobody knows.",
    "The museum shows coins, maps and letters of four centuries; entry is free on the first Sunday of a month, and "
    "groups of more than ten people are asked to write a week ahead.",
    "If the pump is loud but no water comes, there is air in the pipe: open the valve at the top until it drips.",
    "first second third",
    "Das ist kein englischer Satz.",
    "Prices in euros, taxes included, delivery not.",
    "The bridge carries two lanes of cars, one of trams and a path for everybody else.",
    "Bees dance to tell each other where the flowers are.",
    "What would you have done in my place, with the door locked, the phone dead and the river still rising?",
)


class OfModel:
    """A `Model` of an ONNX file; its samples are what `predict` takes."""

    def __init__(self, model: Model) -> None:
        self.model = model.open()
        self.path, self.options = model.path, model.options

    def made_up(self, argument: str = "samples") -> Any:
        """Return samples made of the inputs' specs; `ModelInputError` asks for others where the graph refuses them."""
        made = dummy_inputs.make_inputs(self.path, self.model.inputs, ROWS, argument)
        try:
            self.model.shared.run(self.pieces(made)[0], count=False)
        except ConduitError as error:
            reason = f"{self.model.name!r} does not take made-up inputs ({error})"
            raise ModelInputError(
                dummy_inputs.ask_for_samples(reason, self.model.inputs, argument)
            ) from error
        return made

    def pieces(self, samples: Any) -> list[Feeds]:
        """Return the arrays for `samples`, in pieces that the graph takes at once."""
        given = self.model.feeds(samples)
        if given.rows == 0:
            raise InputError(f"samples for {self.model.name!r} are empty: wanted at least one")
        arrays = {name: np.asarray(array) for name, array in given.arrays.items()}
        layout = self.model.layout
        return list(layout.pieces(arrays, layout.size or ROWS))

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Return how far the answers of two files are apart."""
        pieces, layout = self.pieces(samples), self.model.layout
        old, new = (
            by_sample(layout, [session.run(piece) for piece in pieces])
            for session in (before, after)
        )
        rows = sum(layout.rows(piece) for piece in pieces)
        return between(old, new, labelled=self.model.labels is not None, samples=rows)

    def opened(self, path: Path) -> Model:
        """Return the model of another file, opened the same way."""
        how, labels = self.options, self.model.wanted_labels
        made = load_model(
            path, device=how.device, fallback=how.fallback, timeout=how.timeout, labels=labels
        )
        return cast(Model, made)


class OfTexts(ABC):
    """A model of texts in a folder; its samples are texts."""

    def __init__(self, model: Embedder | Classifier) -> None:
        self.model = model.open()
        self.options = model.options
        self.path = graph_of(model)

    def made_up(self, argument: str = "samples") -> Any:
        """Return sentences of all lengths."""
        return list(SENTENCES)

    def pieces(self, samples: Any) -> list[Feeds]:
        """Return what the graph is fed for the texts, run by run."""
        pieces: list[Feeds] = list(self.model.feeds(samples))
        if not pieces:
            raise InputError(f"samples for {self.model.name!r} are empty: wanted at least one text")
        return pieces

    @abstractmethod
    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Return how far the answers of two files are apart."""

    def opened(self, path: Path) -> Embedder | Classifier:
        """Return the model of another graph in the folder, opened the same way."""
        how, variant = self.options, path.stem.removeprefix("model_")
        labels = self.model.wanted_labels if isinstance(self.model, Classifier) else None
        made = load_model(
            self.model.path,
            variant=variant,
            device=how.device,
            fallback=how.fallback,
            timeout=how.timeout,
            labels=labels,
        )
        return cast(Embedder | Classifier, made)


class OfEmbedder(OfTexts):
    """An `Embedder`, compared by its vectors."""

    model: Embedder

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Return how far the vectors of two files are apart."""
        old, new = (self._vectors(session, samples) for session in (before, after))
        return between([old], [new], vectors=True)

    def _vectors(self, session: Session, texts: Any) -> FloatArray:
        """Encode with the folder's tokenizer and pooling, and a graph that is not in the folder yet."""
        parts = self.model._parts()
        alone, padding = cast(Shared, _Alone(session)), parts.encoder.padding
        encoder = Encoder(parts.folder, alone, parts.tokenizer.vocabulary_size, padding)
        encode = self.model._encoder(parts)
        return np.concatenate(
            [encoder.vectors(encode(window)) for window in self.model._windows(texts)]
        )


class OfClassifier(OfTexts):
    """A `Classifier`, compared by the scores of its labels, per text or per token."""

    model: Classifier

    def difference(self, before: Session, after: Session, samples: Any) -> Difference:
        """Return how far the scores of two files are apart, and how many texts or tokens keep their label."""
        rows = [
            self.model._encoder(self.model._parts())(window)
            for window in self.model._windows(samples)
        ]
        old, new = (self._scores(session, rows) for session in (before, after))
        return between(
            [old], [new], labelled=old.shape[1] > 1, samples=sum(len(window.ids) for window in rows)
        )

    def _scores(self, session: Session, windows: Sequence[Rows]) -> FloatArray:
        """Return float32 `[texts, labels]`, or `[tokens, labels]`."""
        parts = self.model._parts()
        alone, finish = cast(Shared, _Alone(session)), self.model._scores(parts.config)
        graph = self.model._logits(alone, parts.tokenizer, parts.logits.padding, finish)
        return np.concatenate(
            [np.atleast_2d(row) for window in windows for row in graph.answers(window)]
        )


def graph_of(model: Model | Embedder | Classifier) -> Path:
    """Return a model's own graph or weights; opens nothing.

    The opened session's path is no substitute: another file may have opened the same content first.
    """
    if isinstance(model, Model):
        return model.path
    if isinstance(model, Embedder):
        return Folder.read(model.path).graph(model.variant)
    return choose_graph(find_graphs(model.path), model.variant, model.path)


class _Alone:
    """A session that is not shared, with the face of one that is."""

    def __init__(self, session: Session) -> None:
        self.inputs, self.outputs, self.device = session.inputs, session.outputs, session.device
        self._session = session

    def run(self, feeds: Feeds, rows: int = 1, *, count: bool = True) -> list[Array]:
        return self._session.run(feeds)


def subject(model: Any) -> OfModel | OfTexts:
    """Return the subject for a model or a path; `OptimizeError` for weights that NumPy runs."""
    if isinstance(model, str | Path):
        model = load_model(model, lazy=True)
    if isinstance(model, Embedder | Classifier):
        if not model.loaded:
            child.try_opening(graph_of(model), model.options)
        return OfEmbedder(model) if isinstance(model, Embedder) else OfClassifier(model)
    if not isinstance(model, Model):
        raise TypeError(
            "optimize takes a model of an ONNX file, an embedder, a text or token classifier, or a path, got "
            f"{type(model).__name__}"
        )
    if model.path.suffix == ".npz":
        raise OptimizeError(
            f"{display(model.path)} has nothing to optimize: NumPy computes it in float32; write the network as .onnx"
        )
    if not model.loaded:
        child.try_opening(model.path, model.options)
    return OfModel(model)
