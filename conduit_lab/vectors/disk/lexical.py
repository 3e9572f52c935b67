"""Lexical: full-text search over a store's contents in SQLite's FTS5.

A word is a run of letters, digits and their marks. Texts and queries are folded the same way
(`fold`), so a text matches itself in any Unicode form, and stemmed (Porter 1980), so "returning"
finds "returns". Text without spaces, such as Chinese, counts as one word. For the questions about
the demo handbook the mean reciprocal rank of the right page is 0.62; without stop words it is 0.58,
without stemming 0.57, and with neither 0.56.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import numpy as np

from conduit_lab.vectors.arrays import BoolArray, IntArray

_Text = TypeVar("_Text", str, None)
Keep = Callable[[IntArray], BoolArray]

# The name of `fold` in SQL. A file whose words were folded by other rules names another function,
# so increase the number when changing the rules: files are then upgraded on opening, and older
# versions of this library refuse to write to them.
FOLD = "fold_1"
TOKENIZER = "\"porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'\""


def _schema(new: str, old: str, content: str, tokenizer: str) -> tuple[str, ...]:
    # The texts are stored only in `entries` ("external content"), so deleting triggers must pass
    # the exact indexed text.
    return (
        f"CREATE VIEW texts AS SELECT seq, {content} FROM entries WHERE content IS NOT NULL",
        f"""
    CREATE VIRTUAL TABLE words USING fts5 (
        content, content = 'texts', content_rowid = 'seq', tokenize = {tokenizer}
    )
    """,
        f"""
    CREATE TRIGGER words_added AFTER INSERT ON entries WHEN new.content IS NOT NULL BEGIN
        INSERT INTO words (rowid, content) VALUES (new.seq, {new});
    END
    """,
        f"""
    CREATE TRIGGER words_removed AFTER DELETE ON entries WHEN old.content IS NOT NULL BEGIN
        INSERT INTO words (words, rowid, content) VALUES ('delete', old.seq, {old});
    END
    """,
        f"""
    CREATE TRIGGER words_replaced AFTER UPDATE ON entries WHEN new.content IS NOT old.content BEGIN
        INSERT INTO words (words, rowid, content)
            SELECT 'delete', old.seq, {old} WHERE old.content IS NOT NULL;
        INSERT INTO words (rowid, content) SELECT new.seq, {new} WHERE new.content IS NOT NULL;
    END
    """,
    )


WORDS_SCHEMA = _schema(
    f"{FOLD}(new.content)",
    f"{FOLD}(old.content)",
    f"{FOLD}(content) AS content",
    TOKENIZER,
)
# Of files with unfolded texts, which are only read if they cannot be upgraded.
UNFOLDED = _schema(
    "new.content", "old.content", "content", "'porter unicode61 remove_diacritics 2'"
)

_DROP = (
    *(f"DROP TRIGGER words_{name}" for name in ("added", "removed", "replaced")),
    "DROP TABLE words",
    "DROP VIEW texts",
)

# FTS5's bm25 (k1 = 1.2, b = 0.75) is negative, lower is better. Ties are in insertion order.
_SEARCH = "SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ?"
_BEST = f"{_SEARCH} ORDER BY score DESC, rowid LIMIT ?"
_ID = "SELECT id FROM entries WHERE seq = ?"

# Compares the index with all texts, the only way to find a flipped bit in it; 7 µs per text.
CHECK = "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)"

MAX_QUERY_WORDS = 64  # each costs a scan of the texts that contain it
MAX_QUERY_CHARACTERS = 40_000  # FTS5 reads at most 32,768 bytes of a word
_BLOCK_HITS = 4_096  # filtered together

# Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic, tatweel; joiners, soft hyphens
# and variation selectors. Marks of other scripts are letters there.
_DROPPED = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640"
    "\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    "\u00ad\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]"
)

# They occur in nearly every text and would make most of the store a candidate.
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after also am an and any are as at be because been before but by can could did do does
    for from had has have he her him his how i if in into is it its just me my no not of off on only
    or our out over she should since so some still than that the their them then there these they
    this those to up us very was we were what when where which while who whom whose why will with
    would you your
    """,
    )
)


def fold(text: _Text) -> _Text:
    """Remove case, accents and compatibility forms from text: NFKC of its filtered NFKD.

    Full-width letters, ligatures and superscripts become plain, "ς" becomes "σ", "ё" becomes "е";
    composed and decomposed Hangul and kana are the same.
    """
    if text is None or text.isascii():  # FTS5 itself folds the case of ASCII
        return text
    plain = _DROPPED.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFKC", plain)


def register_fold(connection: sqlite3.Connection) -> None:
    """Register `fold` on a connection; the triggers of a file call it."""
    connection.create_function(FOLD, 1, fold, deterministic=True)


def upgrade_words(connection: sqlite3.Connection) -> None:
    """Index the texts of a writable `UNFOLDED` file again, atomically."""
    if _has(connection, UNFOLDED):
        with suppress(sqlite3.OperationalError), connection:
            connection.execute("BEGIN IMMEDIATE")
            if _has(connection, UNFOLDED):  # another process may have just done it
                for statement in (
                    *_DROP,
                    *WORDS_SCHEMA,
                    "INSERT INTO words (words) VALUES ('rebuild')",
                ):
                    connection.execute(statement)


def _has(connection: sqlite3.Connection, schema: tuple[str, ...]) -> bool:
    named = "SELECT 1 FROM sqlite_schema WHERE name = 'texts' AND sql = ?"
    return connection.execute(named, schema[:1]).fetchone() is not None


def search(
    connection: sqlite3.Connection,
    text: str,
    limit: int,
    keep: Keep | None = None,
) -> list[tuple[str, float]]:
    """Return ids and bm25 scores of the best entries with a word of `text`; higher is better.

    `keep` receives the `seq` numbers of hits, each once, and returns a mask.
    """
    text = text[:MAX_QUERY_CHARACTERS]
    query = match(fold(text) if _has(connection, WORDS_SCHEMA) else text)
    if query is None:
        return []
    if keep is None:
        best = connection.execute(_BEST, (query, limit)).fetchall()
    else:
        best = _kept(connection.execute(_SEARCH, (query,)), limit, keep)
    found = [(connection.execute(_ID, (seq,)).fetchone(), score) for seq, score in best]
    return [(row[0], score) for row, score in found if row is not None]  # None: damaged index


def _kept(hits: sqlite3.Cursor, limit: int, keep: Keep) -> list[tuple[int, float]]:
    seqs, scores = [np.empty(0, np.int64)], [np.empty(0)]
    while some := hits.fetchmany(_BLOCK_HITS):
        seq = np.fromiter((hit[0] for hit in some), np.int64, len(some))
        score = np.fromiter((hit[1] for hit in some), np.float64, len(some))
        here = keep(seq)
        seqs.append(seq[here])
        scores.append(score[here])
    seq, score = np.concatenate(seqs), np.concatenate(scores)
    order = np.lexsort((seq, -score))[:limit]
    return list(zip(seq[order].tolist(), score[order].tolist(), strict=True))


def numbers(connection: sqlite3.Connection, after: int = 0) -> IntArray:
    """Return the `seq` numbers of all entries beyond `after`, ascending."""
    # With "+" SQLite reads all numbers from the id index, which has fewer pages than the table.
    column = "seq" if after else "+seq"
    rows = connection.execute(f"SELECT seq FROM entries WHERE {column} > ?", (after,)).fetchall()
    return np.sort(np.fromiter((seq for (seq,) in rows), np.int64, len(rows)))


def match(text: str) -> str | None:
    """Return the FTS5 query for texts with any word of `text`, or None if it has no words.

    Every word is quoted, so `text` cannot contain operators.
    """
    return " OR ".join(f'"{word}"' for word in query_words(text)) or None


def query_words(text: str) -> list[str]:
    """Return at most `MAX_QUERY_WORDS` distinct words of `text`; stop words only if alone."""
    plain = unicodedata.normalize("NFC", text)
    words = "".join(character if _is_of_word(character) else " " for character in plain).split()
    distinct = {word.lower(): word for word in words}
    kept = [word for lower, word in distinct.items() if lower not in _STOP_WORDS]
    return (kept or list(distinct.values()))[:MAX_QUERY_WORDS]


def _is_of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M"
