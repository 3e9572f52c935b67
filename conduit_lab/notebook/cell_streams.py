"""Streams shown by cells: stopped when their cell runs again, unless a variable refers to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.views.pieces import Line
from conduit_lab.notebook import history

_shown: dict[str, WeakSet[Stream[Any]]] = {}  # keyed by cell ID


def register_cell_streams(shell: Any) -> None:
    """Stop the streams that a cell of `shell` showed when that cell runs again; idempotent."""
    shell.events.register("pre_run_cell", _before)
    shell.events.register("post_run_cell", _after)


def shown_streams() -> list[Stream[Any]]:
    """Return the running streams shown in cell outputs."""
    return [each for streams in _shown.values() for each in streams if not each.finished]


def stop_unnamed(stream: Stream[Any, Any]) -> None:
    """Stop a stream whose output is gone, unless a session variable refers to it."""
    if not stream.finished and _name_of(stream) is None:
        stream.cancel()


def _before(info: Any) -> None:
    """Stop the streams of the cell's previous run to which no variable refers."""
    if info.cell_id is not None:  # cells in a terminal have no ID
        for stream in _running(info.cell_id):
            stop_unnamed(stream)


def _after(result: Any) -> None:
    """Record the streams that the cell shows; stop those of its previous run, or name them."""
    cell = result.info.cell_id if result.info is not None else None
    found = list(_streams_in(result.result))
    for stream in [] if cell is None else _running(cell):
        if any(stream is each for each in found):
            continue
        name = _name_of(stream)
        if name is None:
            stream.cancel()
        else:
            line = f"● the stream of this cell's previous run continues: {name}.cancel() stops it"
            history.publish(Line(line, "quiet"))
    _shown.setdefault(cell or "", WeakSet()).update(found)
    for key in [key for key in _shown if not _running(key)]:
        del _shown[key]


def _running(cell: str | None) -> list[Stream[Any]]:
    return [each for each in _shown.get(cell or "", ()) if not each.finished]


def _name_of(stream: Stream[Any, Any]) -> str | None:
    """Return the session variable that refers to a stream, ignoring IPython's own, as code."""
    for name, value in list((history.namespace() or {}).items()):
        if name.startswith("_") or name == "Out":
            continue
        if value is stream:
            return name
        if any(each is stream for each in _streams_in(value)):
            return next(_places(name, value, stream))
    return None


def _places(name: str, value: Any, stream: Stream[Any, Any]) -> Iterator[str]:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    yield from (f"{name}[{key!r}]" for key, each in pairs if each is stream)


def _streams_in(value: Any) -> Iterator[Stream[Any]]:
    """Yield a stream, or the streams of a plain list, tuple or dict."""
    if isinstance(value, Stream):
        yield value
    elif type(value) in (list, tuple, dict):
        held = value.values() if type(value) is dict else value
        yield from (each for each in held if isinstance(each, Stream))
