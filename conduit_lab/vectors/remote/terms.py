"""Terms: the words of texts as indexed by the local store, for full-text search on servers.

FTS5 tokenizes and stems them in an in-memory table, so a word finds the same texts on every
backend. Servers receive the terms in plain ASCII, which no tokenizer splits or changes: long terms
and terms in other scripts are replaced by a hash.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import blake2b

from conduit_lab.vectors.disk.lexical import (
    FOLD,
    MAX_QUERY_CHARACTERS,
    TOKENIZER,
    fold,
    query_words,
)

FIELD = f"terms_{FOLD}"  # of a server's row or point; other rules use another name

# Length of a hash and of the shortest hashed ASCII term, so no term looks like a hash.
_HASH_CHARACTERS = 32

_SCHEMA = f"""
CREATE VIRTUAL TABLE words USING fts5 (content, content = '', tokenize = {TOKENIZER});
CREATE VIRTUAL TABLE terms USING fts5vocab (words, instance);
"""


def count_terms(texts: Iterable[str | None]) -> list[Counter[str]]:
    """Return the term frequencies of each text."""
    folded = [fold(text or "") for text in texts]
    counts = [Counter[str]() for _ in folded]
    for at, term in _tokenized(folded):
        counts[at][term] += 1
    return counts


def query_terms(text: str) -> list[str]:
    """Return the terms of a query; a term shared by two words occurs twice, as in FTS5."""
    words = query_words(fold(text[:MAX_QUERY_CHARACTERS]))
    return [term for _, term in sorted(_tokenized(words), key=lambda found: found[0])]


def _tokenized(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each term of folded texts with the index of its text, in no particular order."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO words (rowid, content) VALUES (?, ?)", enumerate(texts))
        for at, term in connection.execute("SELECT doc, term FROM terms"):
            yield at, _ascii(term)


def _ascii(term: str) -> str:
    plain = term.isascii() and len(term) < _HASH_CHARACTERS
    return term if plain else blake2b(term.encode(), digest_size=_HASH_CHARACTERS // 2).hexdigest()
