"""Tracebacks of a cell's error: show the user's frames and hide those of the package.

Only the displayed traceback changes: `%tb`, `%debug` and scripts show every frame.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary, extract_tb, print_exception
from types import FrameType, TracebackType
from typing import Any

from conduit_lab.core import errors
from conduit_lab.core.errors import ConduitError
from conduit_lab.core.views import figures
from conduit_lab.notebook import error_box

_OURS, _LIBRARY, _USER = "ours", "library", "user"
_PACKAGE = f"{Path(errors.__file__).parents[1]}{os.sep}"
_LIBRARIES = (
    *(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "purelib", "platlib")),
    f"{site.getusersitepackages()}{os.sep}",
    "<frozen ",
    "<string>",  # generated methods of dataclasses and named tuples
)


def register_tracebacks(shell: Any) -> None:
    """Show errors of `shell`'s cells without the package's frames; idempotent.

    A handler of another tool is kept: IPython supports only one.
    """
    if not shell.custom_exceptions:
        shell.set_custom_exc((Exception, KeyboardInterrupt), _show)


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType,
    tb_offset: int | None = None,
) -> None:
    with _users_frames(error) as hidden:
        shown = (kind, error, error.__traceback__)
        try:
            if hidden and isinstance(error, ConduitError) and getattr(shell, "kernel", None):
                users = extract_tb(error.__traceback__)
                shell.display_pub.publish(error_box.error_bundle(error, users[-1], hidden))
            shell.showtraceback(shown, tb_offset=tb_offset, running_compiled_code=True)
        except Exception:  # the message itself raises; IPython would remove this handler
            print_exception(*shown)
    # for %tb and %debug, where showtraceback stored the shortened one
    sys.last_traceback = shell.InteractiveTB.tb = traceback


@contextmanager
def _users_frames(error: BaseException) -> Iterator[list[FrameSummary]]:
    """Shorten the tracebacks of an error and its chain; yield the hidden frames.

    Everything is restored at the end. IPython has several ways to format a traceback, all of which
    read it from the exceptions.
    """
    chain = _chain(error)
    before = [
        (each, each.__traceback__, each.__cause__, each.__context__, each.__suppress_context__)
        for each in chain
    ]
    notes = error.__dict__.get("__notes__")
    hidden: list[FrameSummary] = []
    try:
        for each in chain:
            _unlink(each)
        shown = {id(each) for each in _chain(error)}
        for each in chain:
            kept, dropped = _split(each.__traceback__)
            hidden += dropped
            if id(each) in shown:
                each.__traceback__ = kept
        if hidden:
            count = figures.plural(len(hidden), "frame")
            verb = "is" if len(hidden) == 1 else "are"
            grouped = any(isinstance(each, BaseExceptionGroup) for each in chain)
            how = "traceback.print_exception(sys.last_value)" if grouped else "%tb"
            line = f"{count} of conduit_lab and its libraries {verb} hidden: {how} shows all"
            error.__dict__["__notes__"] = [*(notes or ()), line]
        yield hidden
    finally:
        for each, traceback, cause, context, suppressed in before:
            each.__traceback__, each.__cause__, each.__context__ = traceback, cause, context
            each.__suppress_context__ = suppressed  # setting a cause also sets this
        if notes is None:
            error.__dict__.pop("__notes__", None)
        else:
            error.__dict__["__notes__"] = notes


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error, and the errors of its group, causes and contexts that are shown with it."""
    found: dict[int, BaseException] = {}
    pending = [error]
    while pending:
        each = pending.pop()
        if id(each) in found:
            continue
        found[id(each)] = each
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions
        inner = _inner(each)
        pending += [] if inner is None else [inner]
    return list(found.values())


def _inner(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _unlink(error: BaseException) -> None:
    """Hide the causes of a package error that contain none of the user's frames.

    They show how the package arrived at its own error, whose message says it all.
    """
    inner = _inner(error)
    if inner is None or _ends_in_user(error):
        return
    seen = {id(error)}
    while inner is not None and id(inner) not in seen and not _has_user(inner):
        seen.add(id(inner))
        inner = _inner(inner)
    if inner is not None and id(inner) in seen:
        inner = None
    if error.__cause__ is not None:
        error.__cause__ = inner
        error.__suppress_context__ = True
    else:
        error.__context__ = inner


def _split(traceback: TracebackType | None) -> tuple[TracebackType | None, list[FrameSummary]]:
    """Return a traceback without the frames of the package and of the libraries it calls."""
    kept: list[TracebackType] = []
    dropped: list[TracebackType] = []
    for each, shown in _frames(traceback):
        (kept if shown else dropped).append(each)
    shortened: TracebackType | None = None
    for each in reversed(kept):
        shortened = TracebackType(shortened, each.tb_frame, each.tb_lasti, each.tb_lineno)
    alone = [TracebackType(None, e.tb_frame, e.tb_lasti, e.tb_lineno) for e in dropped]
    return shortened, [summary for each in alone for summary in extract_tb(each)]


def _frames(traceback: TracebackType | None) -> Iterator[tuple[TracebackType, bool]]:
    """Yield each frame of a traceback, and whether it is shown."""
    caller = _LIBRARY
    while traceback is not None:
        owner = _owner(traceback.tb_frame)
        caller = caller if owner == _LIBRARY else owner
        yield traceback, caller != _OURS
        traceback = traceback.tb_next


def _owner(frame: FrameType) -> str:
    file = frame.f_code.co_filename
    if file.startswith(_PACKAGE):
        return _OURS
    return _LIBRARY if file.startswith(_LIBRARIES) or "-packages" in file else _USER


def _has_user(error: BaseException) -> bool:
    """Return whether a traceback, or one of a group's errors, has a frame of the user."""
    if isinstance(error, BaseExceptionGroup) and any(map(_has_user, error.exceptions)):
        return True
    return any(_owner(each.tb_frame) == _USER for each, _ in _frames(error.__traceback__))


def _ends_in_user(error: BaseException) -> bool:
    """Return whether an error was raised in a frame that is shown."""
    return [True, *(shown for _, shown in _frames(error.__traceback__))][-1]
