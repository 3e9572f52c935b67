"""Changes: a log in the file of added, replaced and removed entries, for incremental updates.

The file's own triggers write it in the transaction of each change, even if an older version of this
library makes the change. A row holds the `seq` of an added or replaced entry or the id of a removed
one. Its stamp is random: a reader that finds its last row unchanged has missed nothing since,
neither pruned rows nor another file written over this one. The first row is empty, so there is
always a last row.
"""

from __future__ import annotations

import sqlite3

from conduit_lab.vectors.disk import record

MAX_CHANGES = 65_536  # rows, of about 20 bytes

# Files are checked against these statements word for word: any edit needs a new format.
CHANGES_SCHEMA = (
    "CREATE TABLE changes "
    "(at INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, put INTEGER, removed TEXT) STRICT",
    """CREATE TRIGGER changes_added AFTER INSERT ON entries BEGIN
        INSERT INTO changes (stamp, put) VALUES (random(), new.seq);
    END""",
    """CREATE TRIGGER changes_replaced AFTER UPDATE ON entries BEGIN
        INSERT INTO changes (stamp, put) VALUES (random(), new.seq);
    END""",
    """CREATE TRIGGER changes_removed AFTER DELETE ON entries BEGIN
        INSERT INTO changes (stamp, removed) VALUES (random(), old.id);
    END""",
    f"""CREATE TRIGGER changes_pruned AFTER INSERT ON changes WHEN new.at % 1024 = 0 BEGIN
        DELETE FROM changes WHERE at <= new.at - {MAX_CHANGES};
    END""",
)
LAST = "SELECT at, stamp FROM changes ORDER BY at DESC LIMIT 1"
STANDS = "SELECT 1 FROM changes WHERE at = ? AND stamp = ?"
# Whether the row with a number was pruned, and so perhaps later rows.
PRUNED = "SELECT 1 FROM (SELECT min(at) AS first FROM changes) WHERE first > ?"
REMOVED_SINCE = "SELECT DISTINCT removed FROM changes WHERE at > ? AND removed IS NOT NULL"
PUT_SINCE = (
    f"SELECT {record.FOR_BLOCK} FROM entries "
    "WHERE seq IN (SELECT put FROM changes WHERE at > ?) ORDER BY seq"
)


def start_log(connection: sqlite3.Connection) -> None:
    """Add the log to a file without one, in a transaction that the caller commits."""
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have just added it.
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'changes'").fetchone() is None:
        for statement in (*CHANGES_SCHEMA, "INSERT INTO changes (stamp) VALUES (random())"):
            connection.execute(statement)
