"""`optimize`: a smaller or faster file beside the old one, kept only if it answers alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures, html
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.measure.subject import Feeds, subject
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.timing import Turns, in_turn
from conduit_lab.runtime.rewriting import child, derived_files, quantize
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Session

# The largest relative difference that is kept; all-MiniLM-L6-v2 has 0.12 to 0.14, 0.001, 0.24 to
# 0.26 and 0
TOLERANCES = {"int8": 0.2, "fp16": 0.01, "int4": 0.3, "graph": 1e-4}
SLOWER = (
    1.05  # a graph that takes longer than this share of the old time is not kept; below it is noise
)


@dataclass(frozen=True)
class Optimized:
    """The report of `optimize`, and the new model, opened.

    `size` is in bytes and `opening` in seconds, each before and after. `times` are those of a call,
    by its rows, measured on `device`. `made_up` says whether the samples were.
    """

    kind: str
    source: Path
    path: Path
    model: Model | Embedder | Classifier
    device: str
    size: tuple[int, int]
    opening: Turns
    times: Mapping[int, Turns]
    difference: Difference
    tolerance: float
    made_up: bool

    @property
    def notes(self) -> list[str]:
        """What a person should know before using it."""
        notes = []
        slow = [rows for rows, turns in self.times.items() if turns.ratio > SLOWER]
        if self.kind == "fp16" and self.device == "cpu":
            notes.append("a CPU computes in float32: float16 saves disk only, it is for a GPU")
        elif slow:
            notes.append(
                f"slower than before with {' and '.join(map(_rows, slow))} on this machine"
            )
        if self.size[1] > self.size[0] and self.kind != "graph":
            notes.append("larger than before: the model is too small for its scales to pay")
        if self.made_up:
            notes.append(
                "compared on made-up samples: pass samples= of your own for an answer that counts"
            )
        return notes

    def _table(self) -> list[tuple[str, str, str, str]]:
        before, after = self.size
        rows = [("size", figures.size(before), figures.size(after), f"× {after / before:.2f}")]
        timed = {
            "opening": self.opening,
            **{_rows(rows): turns for rows, turns in self.times.items()},
        }
        for what, turns in timed.items():
            rows.append(
                (
                    what,
                    figures.seconds(turns.before),
                    figures.seconds(turns.after),
                    f"× {turns.ratio:.2f}",
                )
            )
        return rows

    def _facts(self) -> list[str]:
        got = self.difference
        facts = [
            f"relative difference {got.relative:.2g} of {_rows(got.samples)}, tolerance {self.tolerance:g}"
        ]
        facts.append(f"{got.worst:.2g} of the worst row, {got.largest:.2g} of the worst number")
        if got.same_label is not None:
            facts.append(f"same label {got.same_label:.1%}")
        if got.cosine is not None:
            facts.append(f"cosine {got.cosine[0]:.4f} at worst, {got.cosine[1]:.4f} in the mean")
        return [*facts, *self.notes]

    def __repr__(self) -> str:
        head = f"{display(self.source)} → {display(self.path)}, {self.kind} on {self.device}"
        table = html.columns(
            ("", "before", "after", "ratio"), self._table(), ("before", "after", "ratio")
        )
        return "\n".join([head, table, *self._facts()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Optimized", display(self.path), [self.kind, f"on {self.device}"])
        shown += html.table(
            ("", "before", "after", "ratio"), self._table(), ("before", "after", "ratio")
        )
        return html.bundle(repr(self), shown + html.text("\n".join(self._facts())))


def optimize(
    model: Model | Embedder | Classifier | str | Path,
    kind: str,
    *,
    calibration: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> Optimized:
    """Write the "int8", "fp16", "int4" or "graph" of a model beside it and return the report,
    `.model` in it.

    `samples` are compared and timed on: what `predict` takes, texts for an embedder or a text or
    token classifier; by default they are `calibration`, or made up. `calibration` is for "int8":
    inputs like the real ones, which fix the scales of the activations (best for convolutions; a
    transformer is better without). `tolerance` is the largest `relative` difference that is kept:
    0.2, 0.01, 0.3 and 0.0001 by default.

    What to know of int8: without `calibration` the largest number of a run sets its scale, so that
    an answer depends a little on the rows beside it; and processors without VNNI (x86-64 before
    2019 or so) let sums saturate, so that one should compare where the model will run.

    The conversion and the first load of its result run in a child process, as does the first load
    of a model that is not open yet: a fault of onnxruntime in them is an error, and this process
    lives.

    Raises `OptimizeError` for a model that cannot be made so, for a result that is worse than
    `tolerance`, and for a "graph" that is slower: then no file is left.
    """
    if kind not in quantize.SUFFIXES:
        raise ValueError(f"optimize makes {', '.join(quantize.SUFFIXES)}, not {kind!r}")
    if calibration is not None and kind != "int8":
        raise ValueError(f"calibration= is for 'int8': {kind!r} needs none")
    limit = TOLERANCES[kind] if tolerance is None else tolerance
    old = subject(model)
    given = calibration if samples is None else samples
    compared = old.made_up() if given is None else given
    pieces = old.pieces(compared)
    scales = None if calibration is None else old.pieces(calibration)
    target = quantize.converted_path(old.path, kind)
    with derived_files.draft(target) as path:
        child.convert_in_child(
            old.path, path, kind, old.options, scales, pieces[0]
        )  # which may end a process
        before, after = Session(old.path, old.options), Session(path, old.options)
        difference = old.difference(before, after, compared)
        if not difference.relative <= limit:
            raise OptimizeError(
                _worse(old.path, kind, difference, limit, calibrated=scales is not None)
            )
        times = {
            rows: _times(before, after, piece) for rows, piece in _timed(pieces, Layout.of(before))
        }
        slow = min(turns.ratio for turns in times.values())
        if kind == "graph" and slow > SLOWER:
            raise OptimizeError(
                f"{display(old.path)} as a graph takes {slow:.2f} times as long as before on {before.device}: "
                "it was not kept"
            )
        opening = in_turn(
            lambda: Session(old.path, old.options), lambda: Session(path, old.options)
        )
        size, device = (before.size, after.size), before.device
        del before, after  # so that no file is open when it moves
    return Optimized(
        kind=kind,
        source=old.path,
        path=target,
        model=old.opened(target),
        device=device,
        size=size,
        opening=opening,
        times=times,
        difference=difference,
        tolerance=limit,
        made_up=given is None,
    )


def _worse(path: Path, kind: str, difference: Difference, limit: float, *, calibrated: bool) -> str:
    """Return what is wrong with a result, and what to do."""
    others = {
        "int8": "leave calibration= out"
        if calibrated
        else "give calibration= real inputs, or take 'fp16'",
        "fp16": "its numbers may leave the range of float16 (65 504): take 'int8'",
        "int4": "take 'int8'",
        "graph": "leave it as it is: onnxruntime optimises it at each opening",
    }
    return (
        f"{display(path)} as {kind} answers too differently and was not kept: relative "
        f"difference {difference.relative:.2g} of {_rows(difference.samples)}, tolerance {limit:g}; {others[kind]}, "
        "compare on samples= of your own, or allow more with tolerance="
    )


def _timed(pieces: Sequence[Feeds], layout: Layout) -> Iterator[tuple[int, Feeds]]:
    """Yield what is measured: one row where the batch axis is free, and a whole piece, each with its rows."""
    piece = pieces[0]
    rows = layout.rows(piece)
    if rows > 1 and layout.size == 0:
        yield 1, layout.part(piece, 0, 1)
    yield rows, piece


def _times(before: Session, after: Session, piece: Feeds) -> Turns:
    return in_turn(lambda: before.run(piece), lambda: after.run(piece))


def _rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
