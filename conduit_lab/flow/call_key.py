"""The cache key of a stage's call: a digest of the models below it and its input's bytes."""

from __future__ import annotations

import marshal
import threading
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core import forking
from conduit_lab.core.caller import current_caller
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.weight import PLAIN
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.models.file_model import FileModel

_DIGEST_BYTES = 16
# in this version the bytes depend only on the value; later ones also encode shared references
_MARSHAL_VERSION = 2
_CONTAINER = b"\xff"  # no marshal type starts with it
_ATOMS = PLAIN | {bytes}


class NoKeyError(TypeError):
    """An input that cannot be serialized, so that its call has no key."""


class _Tree(NamedTuple):
    """The stages below a stage, as included in `digest`."""

    number: int
    parts: list[Any]
    revisions: list[Any]
    contents: list[Any]
    digest: blake2b


class CallKeys:
    """The keys of one stage's calls; thread-safe.

    Two calls of one tenant have the same key if the contents and devices of the stage's models, the
    revisions of its other stages and the bytes of the input are equal. An input is an array, text,
    bytes, a number, None, or a list, tuple or dict of these.
    """

    def __init__(self) -> None:
        self._tree: _Tree | None = None
        self._numbers = count()
        self._making = threading.Lock()
        forking.free_in_child(self, "_making")

    @staticmethod
    def of(state: blake2b, value: Any) -> bytes:
        """Return the key of a call with `value`; raise `NoKeyError` for an unsupported input."""
        digest = state.copy()
        caller = current_caller()
        if caller is not None and caller.tenant is not None:  # each tenant has separate stores
            _add(digest, caller.tenant)
        try:
            _add(digest, value)
        except RecursionError:
            raise NoKeyError("an input nested this deeply") from None
        return digest.digest()

    def state(self, stage: Stage) -> blake2b:
        """Return a digest of `stage` and the stages below, the same object until one changes.

        Opens closed models.
        """
        stages = list(_below(stage))
        parts = [stage, *map(_identity, stages)]
        models = [each for each in stages if isinstance(each, FileModel)]
        revisions = [each.revision for each in stages if not isinstance(each, FileModel)]
        contents = [model.shared.key for model in models]
        known = self._tree
        if known is not None and _is_same(known, parts, revisions) and known.contents == contents:
            return known.digest
        with self._making:  # threads that see the same change share one digest
            known = self._tree
            same = known if known is not None and _is_same(known, parts, revisions) else None
            if same is not None and same.contents == contents:
                return same.digest
            number = next(self._numbers) if same is None else same.number
            digest = blake2b(repr((number, contents)).encode(), digest_size=_DIGEST_BYTES)
            self._tree = _Tree(number, parts, revisions, contents, digest)
        return digest


def opens_files(stage: Stage) -> bool:
    """Return whether computing a key would open a model."""
    return any(each.held is None for each in _below(stage) if isinstance(each, FileModel))


def _below(stage: Stage) -> Iterator[Stage]:
    yield stage
    for child in stage.children:
        yield from _below(child)


def _identity(stage: Stage) -> Any:
    """Return an object that identifies a stage in its tree; some create children on each access."""
    if isinstance(stage, Function):
        return stage.function
    return stage if isinstance(stage, FileModel) else type(stage)


def _is_same(known: _Tree, parts: list[Any], revisions: list[Any]) -> bool:
    if len(known.parts) != len(parts) or not all(map(is_, known.parts, parts)):
        return False
    try:
        return known.revisions == revisions
    except Exception:  # a class whose == does not return a bool
        return False


def _add(digest: blake2b, value: Any) -> None:
    kind = type(value)
    if kind in _ATOMS:
        digest.update(marshal.dumps(value, _MARSHAL_VERSION))
    elif kind is np.ndarray or (isinstance(value, np.generic) and kind.__module__ == "numpy"):
        _add_array(digest, value)
    elif kind is list or kind is tuple:
        if _ATOMS.issuperset(map(type, value)):
            digest.update(marshal.dumps(value, _MARSHAL_VERSION))
            return
        digest.update(_header(kind.__name__, len(value)))
        for item in value:
            _add(digest, item)
    elif kind is dict or kind is CitedAnswer:
        digest.update(_header("dict", len(value)))
        for item in value.items():
            _add(digest, item)
    else:
        raise NoKeyError(f"an input of the type {kind.__name__}")


def _add_array(digest: blake2b, value: Any) -> None:
    dtype = value.dtype
    if dtype.hasobject:
        raise NoKeyError("an array of objects")
    text = dtype.str if dtype.names is None else str(dtype.descr)
    digest.update(_header(type(value).__name__, text, value.shape))
    # datetimes do not support the buffer protocol
    if dtype.kind in "mM" or not isinstance(value, np.ndarray):
        digest.update(value.tobytes())
    else:
        digest.update(np.ascontiguousarray(value).data)


def _header(*facts: Any) -> bytes:
    return _CONTAINER + marshal.dumps(facts, _MARSHAL_VERSION)
