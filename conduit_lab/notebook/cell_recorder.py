"""CellRecorder: the cells that a session ran, in order, and where each stopped."""

from __future__ import annotations

import ast
import linecache
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary, ref

from conduit_lab.core.syntax import parse_module
from conduit_lab.export.cell_run import CellRun

_RUNNING_MAGICS = frozenset({"time", "capture", "prun"})  # they run their cell unchanged
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# the line of the outermost frame comes first
_MARKED_LINE = re.compile(r"^-+> (\d+)", re.MULTILINE)

_Frame = tuple[CodeType, int]  # code and current line
_recorders: WeakKeyDictionary[Any, CellRecorder] = WeakKeyDictionary()  # keyed by shell


@dataclass(eq=False)
class _Run:
    """A running cell: its raw text, its Python source, and the cells that it runs itself."""

    number: int
    raw: str
    source: str
    key: str = ""
    inner: list[str] = field(default_factory=list)


class CellRecorder:
    """The runs of a shell's cells, oldest first: only text, no user objects.

    Cells that ran before the recorder was created come from the input history.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = ref(shell)
        self._cells: list[CellRun] = []
        self._running: list[_Run] = []
        self._read_history(shell)
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    @classmethod
    def of(cls, shell: Any) -> CellRecorder:
        """Return the recorder of `shell`, creating it on first use."""
        found = _recorders.get(shell)
        if found is None:
            found = _recorders[shell] = cls(shell)
        return found

    @property
    def cells(self) -> list[CellRun]:
        """The cells so far; running cells end at their current statement."""
        running = [self._cell(run, list(_frames())) for run in list(self._running)]
        return [*self._cells, *running]

    def add(self, source: str) -> None:
        """Record the `app.py` of an export opened by the running cell."""
        number = self._running[0].number if self._running else len(self._cells) + 1
        self._cells.append(CellRun(number, source, opened=True))

    def _read_history(self, shell: Any) -> None:
        sources = list(shell.history_manager.input_hist_parsed)
        errors = getattr(shell.history_manager, "exceptions", {})
        running = len(sources) - 1 if self._is_running(shell, len(sources)) else None
        for number, source in enumerate(sources):
            if number == running:
                self._running.append(_Run(number, shell.history_manager.input_hist_raw[-1], source))
            elif source.strip():
                line = _recorded_line(errors.get(number))
                self._cells.append(
                    CellRun(number, (_body(shell, source) or source).rstrip("\n"), line)
                )

    @staticmethod
    def _is_running(shell: Any, inputs: int) -> bool:
        """Return whether the newest input is still running: its output is not counted yet."""
        frames = list(_frames())
        newest = shell.history_manager.input_hist_parsed[-1] if inputs > 1 else ""
        return bool(newest.strip()) and _line_in(frames, newest, wrapped=False) is not None

    def _before(self, info: Any) -> None:
        shell = self._shell()
        source = getattr(info, "transformed_cell", None) or _transformed(shell, info.raw_cell)
        inputs = [] if shell is None else shell.history_manager.input_hist_parsed
        number = self._running[0].number if self._running else len(inputs)
        self._running.append(_Run(number, info.raw_cell, source, str(info.cell_id or "")))

    def _after(self, result: Any) -> None:
        raw = result.info.raw_cell if result.info is not None else None
        raw = None if raw is None else raw.rstrip("\n")  # as in the input history
        run = next((r for r in reversed(self._running) if r.raw.rstrip("\n") == raw), None)
        if run is None:  # an empty cell
            return
        self._running.remove(run)
        for outer in self._running:
            outer.inner.append(run.raw.strip())
        body = _magic_body(run.source)
        if result.error_before_exec is not None or (body and body.strip() in run.inner):
            return  # nothing ran, or its magic ran it as a cell
        error = result.error_in_exec
        tb = [] if error is None else list(traceback.walk_tb(error.__traceback__))
        frames = [(frame.f_code, line) for frame, line in tb]
        cell = self._cell(run, frames)
        if error is not None and cell.succeeded:  # raised outside of the cell's own code
            cell = CellRun(cell.number, cell.source, 1, cell.key)
        self._cells.append(cell)

    def _cell(self, run: _Run, frames: list[_Frame]) -> CellRun:
        body = _body(self._shell(), run.source)
        stopped_at = _line_in(frames, run.source, wrapped=body is not None)
        source = run.source if body is None else body
        return CellRun(run.number, source.rstrip("\n"), stopped_at, run.key)


def _frames() -> Iterator[_Frame]:
    """Yield the frames of this thread, outermost first."""
    found = [(frame.f_code, line) for frame, line in traceback.walk_stack(sys._getframe())]
    yield from reversed(found)


def _line_in(frames: Iterable[_Frame], source: str, *, wrapped: bool) -> int | None:
    """Return a cell's current line, or None for frames outside of it.

    For a cell `wrapped` in a magic, the line refers to the code below the magic.
    """
    modules = iter([each for each in frames if each[0].co_name == "<module>"])
    lines = source.splitlines()
    for code, line in modules:
        if [text.rstrip("\n") for text in linecache.getlines(code.co_filename)] == lines:
            return next((inner for _, inner in modules), 1) if wrapped else line
    return None


def _recorded_line(error: Any) -> int | None:
    """Return the failing line of an input from the traceback that IPython kept, or None."""
    if not error:
        return None
    text = _ANSI.sub("", "\n".join(map(str, error.get("traceback", ()))))
    found = _MARKED_LINE.search(text)
    return int(found[1]) if found else 1


def _body(shell: Any, source: str) -> str | None:
    """Return the Python source below a magic such as `%%time`, or None without one."""
    body = _magic_body(source)
    if body is None:
        return None
    inner = _transformed(shell, body)
    return _body(shell, inner) or inner


def _magic_body(source: str) -> str | None:
    """Return the text below a magic that runs it, or None without one.

    IPython turns a cell magic into `get_ipython().run_cell_magic(name, line, text)`.
    """
    if "run_cell_magic" not in source:
        return None
    with suppress(SyntaxError, ValueError):
        match parse_module(source).body:
            case [ast.Expr(ast.Call(ast.Attribute(attr="run_cell_magic"), arguments))]:
                name, _, text = map(ast.literal_eval, arguments)
                return str(text) if name in _RUNNING_MAGICS else None
    return None


def _transformed(shell: Any, text: str) -> str:
    try:
        return str(shell.transform_cell(text))
    except Exception:  # raised by the user's own transformer
        return text
