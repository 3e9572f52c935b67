"""The garbage collector, paused."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector during the block, or until `resume_collector`."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def resume_collector() -> None:
    """Resume the collector, without a pass over the objects that exist now, which stay."""
    gc.freeze()
    gc.enable()


def age_objects() -> None:
    """Move every object to the oldest generation, without a pass over them.

    Else the next pass reads all that was made during a pause, and holds the GIL meanwhile. The
    objects that `gc.freeze` had excluded are read again by full passes, which are rare.
    """
    gc.freeze()
    gc.unfreeze()
