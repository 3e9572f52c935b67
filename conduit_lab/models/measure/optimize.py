"""`optimize`: write a smaller or faster file beside the old one, if its answers agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from conduit_lab.core.errors import OptimizeError
from conduit_lab.core.paths import display
from conduit_lab.core.progress import STEP, Progress, progress
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.measure.subject import GraphInputs, GraphModel, subject
from conduit_lab.runtime.measuring.timing import Turns, in_turn
from conduit_lab.runtime.rewriting import child, derived_files, quantize
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import Session

# For the relative difference, by kind; all-MiniLM-L6-v2: 0.12 to 0.14, 0.001, 0.24 to 0.26, 0
TOLERANCES = {"int8": 0.2, "fp16": 0.01, "int4": 0.3, "graph": 1e-4}
_STEPS = 5  # opening, converting, comparing, timing its calls, timing its opening
MAX_SLOWDOWN = 1.05  # a slower "graph" is discarded; less is noise

_Kept = TypeVar("_Kept", bound=GraphModel)


@dataclass(frozen=True)
class Optimized(Viewed, Generic[_Kept]):
    """The report of `optimize`, and the new model, opened.

    `size` is in bytes and `opening` in seconds, each before and after. `times` are the times of a
    call by number of rows, measured on `device`. `made_up` is whether the samples were dummy
    inputs.
    """

    kind: str
    source: Path
    path: Path
    model: _Kept
    device: str
    size: tuple[int, int]
    opening: Turns
    times: Mapping[int, Turns]
    difference: Difference
    tolerance: float
    made_up: bool

    @property
    def notes(self) -> list[str]:
        """Warnings to read before using the model."""
        notes = []
        slow = [rows for rows, turns in self.times.items() if turns.ratio > MAX_SLOWDOWN]
        if self.kind == "fp16" and self.device == "cpu":
            notes.append("a CPU computes in float32, so float16 only saves disk space: use a GPU")
        elif slow:
            notes.append(
                f"slower than before with {' and '.join(map(_rows, slow))} on this machine"
            )
        if self.size[1] > self.size[0] and self.kind != "graph":
            notes.append("larger than before: the model is too small for quantization to pay off")
        if self.made_up:
            notes.append(
                "compared on generated samples: pass your own samples= for a meaningful result"
            )
        return notes

    def _table(self) -> Table:
        before, after = self.size
        rows = [("size", figures.size(before), figures.size(after), f"× {after / before:.2f}")]
        timed = {_rows(rows): turns for rows, turns in self.times.items()}
        for name, turns in {"opening": self.opening, **timed}.items():
            old, new = map(figures.seconds, (turns.before, turns.after))
            rows.append((name, old, new, f"× {turns.ratio:.2f}"))
        columns = ("", "before", "after", "ratio")
        return Table(columns, rows, numeric=columns[1:])

    def _findings(self) -> str:
        found = self.difference
        lines = [
            f"relative difference {found.relative:.2g} of {_rows(found.samples)}, "
            f"tolerance {self.tolerance:g}",
            f"{found.worst:.2g} of the worst row, {found.largest:.2g} of the worst number",
        ]
        if found.same_label is not None:
            lines.append(f"same label {found.same_label:.1%}")
        if found.cosine is not None:
            lines.append(
                f"cosine {found.cosine[0]:.4f} at worst, {found.cosine[1]:.4f} in the mean"
            )
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        head = f"{display(self.source)} → {display(self.path)}, {self.kind} on {self.device}"
        return "\n".join([head, self._table().plain(), self._findings()])

    def _view(self) -> View:
        facts = [self.kind, f"on {self.device}"]
        return View("Optimized", display(self.path), facts, [self._table()], self._findings())


@overload
def optimize(
    model: _Kept,
    kind: str,
    *,
    calibration: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> Optimized[_Kept]: ...
@overload
def optimize(
    model: str | Path,
    kind: str,
    *,
    calibration: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> Optimized[GraphModel]: ...
def optimize(
    model: GraphModel | str | Path,
    kind: str,
    *,
    calibration: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> Optimized[Any]:
    """Write the "int8", "fp16", "int4" or "graph" form of a model beside it; return a report.

    Its `.model` is the new model. `samples` are used to compare and time the two: inputs of
    `predict`, or texts for an embedder or a text or token classifier; by default `calibration`, or
    dummy inputs. `calibration` is for "int8": representative inputs that fix the scales of the
    activations (best for convolutions; transformers are better without). `tolerance` is the largest
    accepted `relative` difference: 0.2, 0.01, 0.3 and 0.0001 by default.

    About int8: without `calibration` the largest value of a run sets its scale, so an answer
    depends slightly on the rest of its batch. On processors without VNNI (x86-64 before about 2019)
    sums may saturate, so compare on the machine that will run the model.

    The conversion and the first load of its result run in a child process, as does the first load
    of a model that is not open yet, so a crash of onnxruntime there raises an error here.

    Raises `OptimizeError` for a model that cannot be converted, a result beyond `tolerance`, or a
    slower "graph"; no file is then left behind.
    """
    if kind not in quantize.SUFFIXES:
        raise ValueError(f"optimize makes {', '.join(quantize.SUFFIXES)}, not {kind!r}")
    if calibration is not None and kind != "int8":
        raise ValueError(f"calibration= is for 'int8': {kind!r} needs none")
    limit = TOLERANCES[kind] if tolerance is None else tolerance
    with progress(_STEPS, STEP, f"optimize {_name(model)}") as job:
        return _optimize(model, kind, calibration, samples, limit, job)


def _optimize(
    model: GraphModel | str | Path,
    kind: str,
    calibration: Any,
    samples: Any,
    limit: float,
    job: Progress,
) -> Optimized[Any]:
    job.phase = "opening"
    old = subject(model)
    given = calibration if samples is None else samples
    compared = old.dummy_samples() if given is None else given
    pieces = old.pieces(compared)
    scales = None if calibration is None else old.pieces(calibration)
    target = quantize.converted_path(old.path, kind)
    with derived_files.draft(target) as path:
        job.next_phase("converting")
        # in a child process, since onnxruntime may crash
        child.convert_in_child(old.path, path, kind, old.options, scales, pieces[0])
        job.next_phase("comparing")
        before, after = Session(old.path, old.options), Session(path, old.options)
        difference = old.difference(before, after, compared)
        if not difference.relative <= limit:
            calibrated = scales is not None
            raise OptimizeError(_worse(old.path, kind, difference, limit, calibrated=calibrated))
        job.next_phase("timing")
        timed = _timed(pieces, Layout.of(before))
        times = {rows: _times(before, after, piece) for rows, piece in timed}
        slow = min(turns.ratio for turns in times.values())
        if kind == "graph" and slow > MAX_SLOWDOWN:
            raise OptimizeError(
                f"{display(old.path)} as a graph takes {slow:.2f} times as long as before on "
                f"{before.device}: it was not kept"
            )
        job.next_phase("timing the opening")
        opening = in_turn(
            lambda: Session(old.path, old.options), lambda: Session(path, old.options)
        )
        size, device = (before.size, after.size), before.device
        del before, after  # closes the files: Windows cannot move open files
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


def _name(model: GraphModel | str | Path) -> str:
    return Path(model).name if isinstance(model, str | Path) else model.name


def _worse(path: Path, kind: str, difference: Difference, limit: float, *, calibrated: bool) -> str:
    """Return the error for a result beyond the tolerance, with a next step."""
    uncalibrated = "give calibration= real inputs, or take 'fp16'"
    steps = {
        "int8": "leave calibration= out" if calibrated else uncalibrated,
        "fp16": "its numbers may leave the range of float16 (65 504): take 'int8'",
        "int4": "take 'int8'",
        "graph": "leave it as it is: onnxruntime optimises it at each opening",
    }
    return (
        f"{display(path)} as {kind} answers too differently and was not kept: relative difference "
        f"{difference.relative:.2g} of {_rows(difference.samples)}, tolerance {limit:g}; "
        f"{steps[kind]}, compare on samples= of your own, or allow more with tolerance="
    )


def _timed(pieces: Sequence[GraphInputs], layout: Layout) -> Iterator[tuple[int, GraphInputs]]:
    """Yield the inputs to time with their rows: one row if the batch axis is free, then a piece."""
    piece = pieces[0]
    rows = layout.rows(piece)
    if rows > 1 and layout.size == 0:
        yield 1, layout.part(piece, 0, 1)
    yield rows, piece


def _times(before: Session, after: Session, piece: GraphInputs) -> Turns:
    return in_turn(lambda: before.run(piece), lambda: after.run(piece))


def _rows(rows: int) -> str:
    return figures.plural(rows, "row")
