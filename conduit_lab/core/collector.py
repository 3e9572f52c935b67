"""Pause the garbage collector, or tune it for requests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# CPython 3.11 starts a pass at 700: a request of benchmarks/serving.py then takes a tenth more
_YOUNG_OBJECTS = 5_000


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


@contextmanager
def tuned_for_requests() -> Iterator[None]:
    """Tune the collector for a process that only serves requests, until the end of the block.

    Modules and models that exist now are frozen. The objects of requests in flight survive every
    pass over the youngest generation, so such passes are made an order of magnitude less often.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


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
