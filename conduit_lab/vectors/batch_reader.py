"""Batch reader: convert a caller's ids, embeddings, metadata and contents to a batch."""

from __future__ import annotations

import time
from typing import Any

from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.embedding import as_matrix, embed_contents
from conduit_lab.vectors.entry import check_content, check_ids, check_metadata
from conduit_lab.vectors.table import column_values


def read_batch(
    ids: Any,
    embeddings: Any,
    metadatas: Any,
    contents: Any,
    *,
    dimension: int,
    embedder: EmbedderProtocol | None,
    where: str,
) -> Batch:
    """Return the checked batch; embed its contents if `embeddings` is None.

    Errors start with `where`. Raises `VectorInputError` for the first invalid value.
    """
    ids = check_ids(ids, f"{where} ids")
    metadatas = column_values(metadatas, len(ids), where, "metadatas")
    contents = column_values(contents, len(ids), where, "contents")
    plain = [
        check_metadata(metadata, f"{where} metadata of {id!r}")
        for id, metadata in zip(ids, metadatas, strict=True)
    ]
    texts = [
        check_content(text, metadata, f"{where} content of {id!r}")
        for id, metadata, text in zip(ids, plain, contents, strict=True)
    ]
    names = [f"{where} the embedding of {id!r}" for id in ids]
    if embeddings is None:
        embeddings = embed_contents(texts, embedder, names)
    vectors = as_matrix(embeddings, dimension, names)
    now = [time.time()] * len(ids)
    return Batch(ids, vectors, plain, texts, now, now)
