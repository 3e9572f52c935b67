"""Attributes: the typed facts of one span."""

from __future__ import annotations

from typing import Any, TypedDict


class Attributes(TypedDict, total=False):
    """The attributes of a span's call; each key only where it is known.

    `device` ran it. `device_fallback` is the reason why the CPU ran it in place of its device,
    `fallback` the name of the stage that answered for the first one. `rows` went in, `tokens` came
    out. `cached` says that the result came from a cache, `kept` that it came from the trace that a
    call repeats. `arguments` are those beside the input that decide the result. `store_read` and
    `store_write` are the store, `model_file` the loaded model. `usage` is that of a generation.
    `plan` is how a search was done, `detail` a remark for readers.
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
