"""Pause the garbage collector."""

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
    """Resume the collector without first scanning the existing objects."""
    gc.freeze()
    gc.enable()


def age_objects() -> None:
    """Move every object to the oldest generation, without scanning them.

    Otherwise the next collection scans everything allocated during a pause while holding the GIL.
    Objects that `gc.freeze` had excluded are scanned by full collections again, which are rare.
    """
    gc.freeze()
    gc.unfreeze()
