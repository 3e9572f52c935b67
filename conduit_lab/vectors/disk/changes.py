"""Changes: a log in the file of which entries came, were replaced and went, so that others read no
more than those.

The file's own triggers write it, so it is in the transaction of each change whoever makes it, an
older version of this library too. A row tells the `seq` of an entry that was put or the id of one
that was removed. Its stamp is random: who finds the last row that it has read unchanged knows that
nothing is missing since, neither pruned nor because another file was written over this one. The
first row tells nothing, so that there always is a last.
"""

from __future__ import annotations

import sqlite3

from conduit_lab.vectors.disk import record

KEPT = 65_536  # rows, of about 20 bytes

# A file that has some of this has it word for word; what is written in other words needs a new
# format.
SCHEMA = (
    "CREATE TABLE changes (at INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, put INTEGER, removed TEXT) STRICT",
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
        DELETE FROM changes WHERE at <= new.at - {KEPT};
    END""",
)
LAST = "SELECT at, stamp FROM changes ORDER BY at DESC LIMIT 1"
STANDS = "SELECT 1 FROM changes WHERE at = ? AND stamp = ?"
# since a change, and so it as well
PRUNED = "SELECT 1 FROM (SELECT min(at) AS first FROM changes) WHERE first > ?"
REMOVED = "SELECT DISTINCT removed FROM changes WHERE at > ? AND removed IS NOT NULL"
PUT = f"SELECT {record.FOR_BLOCK} FROM entries WHERE seq IN (SELECT put FROM changes WHERE at > ?) ORDER BY seq"


def begin(connection: sqlite3.Connection) -> None:
    """Let a file keep the log from now on, in a transaction that the caller ends; another may just have done it."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'changes'").fetchone() is None:
        for statement in (*SCHEMA, "INSERT INTO changes (stamp) VALUES (random())"):
            connection.execute(statement)
