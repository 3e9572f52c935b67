"""Reranking: checked scores from a model that reads a query and its passages together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import ConduitError, ModelRunError
from conduit_lab.core.spec import describe
from conduit_lab.core.views import figures


class RerankerProtocol(Protocol):
    """A model that reads a query and a passage together."""

    def score(self, query: str, passages: Sequence[str]) -> npt.ArrayLike:
        """Return one score per passage, `[n]` or `[n, 1]`, higher for a better answer."""


def rerank_scores(
    reranker: RerankerProtocol, query: str, passages: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Score each passage, float64 `[n]`, all finite.

    Raises `ModelRunError` naming the reranker if it fails or returns anything but one finite number
    per passage.
    """
    named = f"reranker {getattr(reranker, 'name', type(reranker).__name__)!r}"
    count = len(passages)
    try:
        answer = reranker.score(query, passages)
        array = np.asarray(answer)
    except ConduitError:
        raise
    except Exception as error:
        raise ModelRunError(
            f"{named} failed on {figures.plural(count, 'passage')}: {type(error).__name__}: {error}"
        ) from error
    if array.dtype.kind not in "fiu" or array.size != count or array.shape[1:] not in ((), (1,)):
        got = type(answer).__name__ if array.dtype.kind == "O" else describe(array)
        raise ModelRunError(
            f"{named} returned {got}, expected one number per passage, float [{count}]: "
            "return the scores in the order of the passages"
        )
    finite = array.reshape(count).astype(np.float64)
    if not np.isfinite(finite).all():
        [at, *_] = np.flatnonzero(~np.isfinite(finite))
        raise ModelRunError(
            f"{named} returned {finite[at]} for passage {at} of {count}, expected finite scores: "
            "check the model's precision and its input"
        )
    return finite
