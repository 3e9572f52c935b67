"""Embeddings and queries in the form for a store: finite float32, given or computed from text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import Array, EmbedderProtocol, FloatArray, describe
from conduit_lab.core.views import figures
from conduit_lab.vectors.entry import check_text

EmbeddingLike = Sequence[float] | npt.NDArray[Any]
"""One embedding `[dimension]`, in any dtype that casts to float32."""

_CHECKED_ROWS = 1_024  # of one temporary mask
_FLOAT32 = np.dtype(np.float32)


def as_vector(value: Any, dimension: int, what: str) -> FloatArray:
    """Return `value` as float32 `[dimension]`, without a copy if possible.

    `what` names it in errors. Raises `VectorInputError` for another shape, a non-real dtype, and a
    value that is not finite in float32.
    """
    array = _numbers(value, what, f"[{dimension}]")
    if array.shape != (dimension,):
        hint = ": this is a batch, pass one row of it" if array.shape[1:] == (dimension,) else ""
        raise VectorInputError(f"{what} expects float32 [{dimension}], got {describe(array)}{hint}")
    vector: FloatArray = _finite(array[np.newaxis], [what])[0]
    return vector


def as_matrix(values: Any, dimension: int, names: Sequence[str]) -> FloatArray:
    """Return `values` as float32 `[len(names), dimension]`, without a copy if possible.

    `names[i]` names row i in errors. Raises as `as_vector` does.
    """
    values = _as_list(values)
    if isinstance(values, (list, tuple)) and len(values) == len(names):
        # Row by row, so the error for a ragged batch names its first invalid row.
        pairs = zip(values, names, strict=True)
        rows = [as_vector(value, dimension, name) for value, name in pairs]
        if not rows:
            return np.empty((0, dimension), np.float32)
        return np.concatenate(rows).reshape(-1, dimension)
    array = _numbers(values, "a batch of embeddings", f"[{len(names)}, {dimension}]")
    if array.shape != (len(names), dimension):
        raise VectorInputError(
            f"expected float32 [{len(names)}, {dimension}] for {figures.plural(len(names), 'id')}, "
            f"got {describe(array)}"
        )
    return _finite(array, names)


def check_dimension(dimension: int | None, embedder: EmbedderProtocol | None) -> int | None:
    """Return the dimension to open a store with, or None if neither argument sets it."""
    made = None if embedder is None else embedder.dimension
    if dimension is None:
        return made
    if isinstance(dimension, bool) or not isinstance(dimension, (int, np.integer)) or dimension < 1:
        raise VectorInputError(
            f"a store's dimension is a whole number of at least 1, got {dimension!r}"
        )
    if made not in (None, dimension):
        raise VectorInputError(
            f"the embedder has dimension {made}, got dimension={dimension}: leave it out"
        )
    return int(dimension)


class Query(NamedTuple):
    """A query: text, its embedding float32 `[dimension]`, or both."""

    text: str | None
    vector: FloatArray | None


def read_queries(
    value: Any, dimension: int, embedder: EmbedderProtocol | None, what: str, *, words: bool = False
) -> tuple[list[Query], bool]:
    """Return the queries in a user's `value`, and whether it was a single query.

    `value` is a text, a list of texts, an embedding `[dimension]` or a batch `[n, dimension]`.
    Texts are embedded in one batch unless only their `words` are searched. `what` names them in
    errors. Raises `VectorInputError`.
    """
    # Fast path: a usual query would pass all checks below.
    usual = type(value) is np.ndarray and value.dtype == _FLOAT32 and value.shape == (dimension,)
    if usual and np.isfinite(value).all():
        return [Query(None, value)], True
    value = _as_list(value)
    single = isinstance(value, str)
    if single or (
        isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value)
    ):
        texts = [check_text(text, what) for text in ([value] if single else value)]
        if words:
            return [Query(text, None) for text in texts], single
        if embedder is None:
            raise VectorInputError(
                f"{what} is text, and the store has no embedder to search by text: "
                "make it with VectorStore(embedder=…), or pass an embedding"
            )
        # Some models have a separate prompt for queries.
        encode = getattr(embedder, "encode_query", embedder.encode)
        vectors = as_matrix(encode(texts), dimension, [what] * len(texts))
        return list(map(Query, texts, vectors)), single
    if isinstance(value, (list, tuple)) and value and not np.isscalar(value[0]):  # row by row
        array = as_matrix(value, dimension, [f"{what}, row {i}," for i in range(len(value))])
    else:
        array = _numbers(value, what, f"[{dimension}]")
    if array.shape == (dimension,):
        return [Query(None, _finite(array[np.newaxis], [what])[0])], True
    if array.ndim != 2 or array.shape[1] != dimension:
        raise VectorInputError(
            f"{what} expects float32 [{dimension}], or a batch of such rows, got {describe(array)}"
        )
    names = [f"{what}, row {i}," for i in range(len(array))]
    return [Query(None, row) for row in _finite(array, names)], False


def embed_contents(
    texts: Sequence[str | None], embedder: EmbedderProtocol | None, names: Sequence[str]
) -> Sequence[FloatArray]:
    """Return one embedding per text.

    Raises `VectorInputError`, naming the embedding, without an embedder or for a missing text.
    """
    for text, name in zip(texts, names, strict=True):
        if embedder is None or text is None:
            reason = "the store has no embedder" if embedder is None else "the entry has no content"
            raise VectorInputError(f"{name} is missing, and {reason}: pass an embedding")
    if embedder is None or not texts:
        return []
    return list(embed_passages([text for text in texts if text is not None], embedder))


def embed_passages(texts: Sequence[str], embedder: EmbedderProtocol) -> FloatArray:
    """Return the embeddings of texts to store, with the model's document prompt if any."""
    vectors: FloatArray = getattr(embedder, "encode_document", embedder.encode)(texts)
    return vectors


def passage_length(embedder: EmbedderProtocol) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a stored text, or None if the embedder has none.

    The count includes the document prompt, as in `embed_passages`.
    """
    count: Callable[[str], int] | None = getattr(embedder, "count_tokens", None)
    prompt = getattr(embedder, "document_prompt", "")
    return count if count is None or not prompt else lambda text: count(prompt + text)


def _as_list(values: Any) -> Any:
    """Return a column of embeddings or texts, such as a Series, as a list; else `values`."""
    if isinstance(values, (str, list, tuple)):
        return values
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # `_numbers` reports it
        return values
    return list(array) if array.ndim == 1 and array.dtype.kind in "OUT" else values


def _numbers(value: Any, what: str, shape: str) -> Array:
    """Return `value` as an array of integers or floats of any width."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise VectorInputError(
            f"{what} expects float32 {shape}, got {type(value).__name__}: {error}"
        ) from None
    if array.dtype.kind not in "fiu":
        raise VectorInputError(
            f"{what} expects float32 {shape}, got {describe(array)}: pass real numbers"
        )
    return array


def _finite(array: Array, names: Sequence[str]) -> FloatArray:
    """Return `[n, dimension]` as float32; raise for the first value that is not finite."""
    result = array
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):  # an overflow becomes inf here and raises below
            result = array.astype(np.float32)
    for begin in range(0, len(result), _CHECKED_ROWS):
        finite = np.isfinite(result[begin : begin + _CHECKED_ROWS])
        if not finite.all():
            row, position = np.argwhere(~finite)[0]
            raise VectorInputError(
                f"{names[begin + row]} has {array[begin + row, position]} at position {position}: "
                "every value must be finite in float32"
            )
    return result
