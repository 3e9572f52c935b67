"""Lexical: the words of a store's texts in SQLite's FTS5, and how a user's text becomes a query of them.

Words are cut by Unicode, without case and accents, and English endings are dropped (Porter 1980), so that
"returning" finds "returns". Text that is written without spaces, as Chinese is, counts as one word. For the questions
about the demo handbook the mean reciprocal rank of the right page is 0.62; without the stop words or without dropping
endings it is less (0.58 and 0.57), and 0.56 with neither.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice

# The texts stay in `entries` alone ("external content"), so the triggers must tell the index the very text it knew.
SCHEMA = (
    "CREATE VIEW texts AS SELECT seq, content FROM entries WHERE content IS NOT NULL",
    """
    CREATE VIRTUAL TABLE words USING fts5 (
        content, content = 'texts', content_rowid = 'seq', tokenize = 'porter unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER words_added AFTER INSERT ON entries WHEN new.content IS NOT NULL BEGIN
        INSERT INTO words (rowid, content) VALUES (new.seq, new.content);
    END
    """,
    """
    CREATE TRIGGER words_removed AFTER DELETE ON entries WHEN old.content IS NOT NULL BEGIN
        INSERT INTO words (words, rowid, content) VALUES ('delete', old.seq, old.content);
    END
    """,
    """
    CREATE TRIGGER words_replaced AFTER UPDATE ON entries WHEN new.content IS NOT old.content BEGIN
        INSERT INTO words (words, rowid, content)
            SELECT 'delete', old.seq, old.content WHERE old.content IS NOT NULL;
        INSERT INTO words (rowid, content) SELECT new.seq, new.content WHERE new.content IS NOT NULL;
    END
    """,
)

# FTS5's bm25 (k1 = 1.2, b = 0.75) is negative, the best the lowest. Equal scores come in the order of adding.
SEARCH = """
SELECT entries.id, found.score
FROM (
    SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ? ORDER BY score DESC, rowid LIMIT ? OFFSET ?
) AS found
JOIN entries ON entries.seq = found.rowid
ORDER BY found.score DESC, found.rowid
"""

# Compares the index with all texts. Nothing else notices a flipped bit in it; 7 µs a text.
CHECK = "INSERT INTO words (words, rank) VALUES ('integrity-check', 1)"

MAX_WORDS = 64  # of one query; each costs a walk through the texts that hold it

_WORD = re.compile(r"[^\W_]+")

# They stand in nearly every text, so they tell nothing and would make most of the store a candidate.
_STOP_WORDS = frozenset(
    _WORD.findall("""
    a about after also am an and any are as at be because been before but by can could did do does for from had has
    have he her him his how i if in into is it its just me my no not of off on only or our out over she should since
    so some still than that the their them then there these they this those to up us very was we were what when where
    which while who whom whose why will with would you your
    """)
)


def match(text: str) -> str | None:
    """Return the FTS5 query for texts with any word of `text`, or None where it has no word.

    Every word is quoted, so nothing in `text` is an operator. Stop words count only where there is no other word.
    """
    words = islice(_WORD.finditer(unicodedata.normalize("NFC", text)), 10 * MAX_WORDS)
    distinct = {word[0].lower(): word[0] for word in words}
    telling = [word for low, word in distinct.items() if low not in _STOP_WORDS] or list(distinct.values())
    return " OR ".join(f'"{word}"' for word in telling[:MAX_WORDS]) or None
