"""`kill -9` during writes: acknowledged writes survive, others are complete or absent.

This also holds while the writer reads its own files, which drops SQLite's locks, and another
process repeatedly opens, copies and closes the store."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.vectors.disk import lexical
from conduit_lab.vectors.store import VectorStore

ROOT = Path(__file__).parents[3]
IDS = [f"id {i}" for i in range(30)]
State = dict[
    str, int
]  # the generation of each entry: it is in the embedding, the metadata and the content


def nurse(folder: str) -> None:
    """Fork a writer for each input line, and report its death: new processes would be slow."""
    for line in sys.stdin:
        seed, generation = map(int, line.split())
        pid = os.fork()
        if pid == 0:
            writer(Path(folder), random.Random(seed), generation)
        os.waitpid(pid, 0)
        tell("dead")


def tell(*words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def meddler(folder: str) -> None:
    """Open, copy and close the store, over and over, until the test's end of stdin closes."""
    path = Path(folder) / "index.db"
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        found(path)
        read_all(path)
        with suppress(FileNotFoundError):
            shutil.copy(path, path.with_name("copied"))


def read_all(path: Path) -> None:
    """Read a store's files as a backup does, also those of SQLite beside it."""
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(FileNotFoundError):
            file.read_bytes()


def writer(folder: Path, chance: random.Random, generation: int) -> None:
    """Change a store for ever, and tell each change before it is begun and when it is done."""
    tell("pid", os.getpid())
    store = VectorStore(4, path=folder / "index.db")
    for g in count(generation):
        kind = chance.choices(
            ["add", "add_many", "delete", "save_to", "snapshot"], [8, 4, 4, 1, 1]
        )[0]
        ids = chance.sample(IDS, 1 if kind == "add" else chance.randint(1, 9))
        tell("begin", kind, g, ids)
        match kind:
            case "add":
                store.add(ids[0], np.full(4, g), {"g": g}, f"generation {g}")
            case "add_many":
                metadatas, texts = [{"g": g}] * len(ids), [f"generation {g}"] * len(ids)
                store.add_many(ids, np.full((len(ids), 4), g), metadatas, texts)
            case "delete":
                store.delete(ids)
            case "save_to":
                store.save_to(folder / "copies" / f"{g}.db")
            case "snapshot":
                store.snapshot(folder / "snapshot")
        tell("done")
        if chance.random() < 0.5:
            read_all(folder / "index.db")


class Round:
    """One writer's `acknowledged` changes, and the one in progress when it was killed."""

    def __init__(self, told: Iterator[str], delay: float) -> None:
        self.changes: list[list[Any]] = []
        self.acknowledged = 0
        for line in told:
            match json.loads(line):
                case ["pid", pid]:
                    time.sleep(delay)
                    os.kill(pid, signal.SIGKILL)
                case ["begin", *change]:
                    self.changes.append(change)
                case ["done"]:
                    self.acknowledged += 1
                case ["dead"]:
                    break


def changed(state: State, kind: str, g: int, ids: list[str]) -> State:
    """The oracle: what a change makes of a state."""
    match kind:
        case "add" | "add_many":
            return state | dict.fromkeys(ids, g)
        case "delete":
            return {id: g for id, g in state.items() if id not in ids}
        case _:
            return state


def found(path: Path) -> State:
    """The content of a store or a snapshot; each entry must be of one generation."""
    with VectorStore(4, path=path) as store:
        entries = list(store)
    for entry in entries:
        g = entry.metadata["g"]
        assert (entry.embedding.tolist(), entry.content) == ([g] * 4, f"generation {g}")
    return {entry.id: entry.metadata["g"] for entry in entries}


def check(
    folder: Path, state: State, saved: State | None, told: Round
) -> tuple[State, State | None]:
    """Compare all files with the reports; return the entries of the store and the snapshot."""
    for i, change in enumerate(told.changes):
        done = i < told.acknowledged
        kind, g, _ = change
        copy = folder / "copies" / f"{g}.db"
        if kind == "save_to" and (done or copy.exists()):
            assert found(copy) == state
            copy.unlink()
        if kind == "snapshot" and (done or (folder / "snapshot" / "current").exists()):
            if done:
                saved = state
            elif saved is None or found(folder / "snapshot") != saved:
                saved = state  # killed after the new version became current
        if done:
            state = changed(state, *change)
        else:
            now = found(folder / "index.db")
            assert now in (state, changed(state, *change))
            state = now
    assert found(folder / "index.db") == state
    if saved is not None:
        assert found(folder / "snapshot") == saved
    with closing(sqlite3.connect(folder / "index.db")) as connection:
        lexical.register_fold(connection)
        connection.execute(lexical.CHECK)  # the word index matches the texts
    return state, saved


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("rounds", [50, pytest.param(1_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("meddled", [False, True])
def test_kill_9_loses_nothing_acknowledged_and_mixes_nothing(
    tmp_path: Path, rounds: int, meddled: bool
) -> None:
    (tmp_path / "copies").mkdir()
    command = [sys.executable, "-c", f"from {__name__} import nurse; nurse({str(tmp_path)!r})"]
    other = [sys.executable, "-c", f"from {__name__} import meddler; meddler({str(tmp_path)!r})"]
    chance = random.Random(7)
    state: State = {}
    saved: State | None = None
    generation, kinds = 0, set()
    with ExitStack() as stack:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "cwd": ROOT,
        }
        nursery = stack.enter_context(subprocess.Popen(command, **pipes))
        meddling = stack.enter_context(subprocess.Popen(other, **pipes)) if meddled else None
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for seed in range(rounds):
            nursery.stdin.write(f"{seed} {generation}\n")
            nursery.stdin.flush()
            told = Round(iter(nursery.stdout.readline, ""), chance.uniform(0, 0.08))
            state, saved = check(tmp_path, state, saved, told)
            generation += len(told.changes)
            kinds |= {change[0] for change in told.changes[told.acknowledged :]}
        nursery.stdin.close()
    assert nursery.returncode == 0
    assert meddling is None or meddling.returncode == 0
    assert generation > rounds // 10  # even on a busy machine
    assert len(kinds) > 2  # changes of several kinds were cut off
