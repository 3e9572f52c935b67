"""Attributes: the typed facts of one span."""

from __future__ import annotations

from typing import Any, TypedDict


class Attributes(TypedDict, total=False):
    """The attributes of a span's call; keys are present only if known.

    `device` ran the call. `device_fallback` says why the CPU ran it instead of its device, and
    `fallback` names the stage that answered instead of the first one. `rows` is the input batch
    size, `tokens` the number of output tokens. `cached` marks a result from a cache, `kept` one
    from the trace that a rerun repeats. `arguments` are those besides the input that affect the
    result. `store_read` and `store_write` are the store, `model_file` the loaded model. `usage` is
    that of a generation. `plan` says how a search was done, `detail` is a remark for readers.
    """

    device: str
    device_fallback: str
    fallback: str
    rows: int
    tokens: int
    cached: bool
    kept: bool
    arguments: Any
    store_read: Any
    store_write: Any
    model_file: Any
    usage: Any
    plan: str
    detail: str
