"""Models and entries that change under load, through HTTP: every answer is old or new, whole.

Rows 35 and 54.
"""

from __future__ import annotations

import gc
import socket
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import pytest

from conduit_lab import Lab, VectorStore
from conduit_lab.core.errors import ModelLoadError
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import until

SECONDS = 60.0
CLIENTS = 4
SWAPS = 40
LABELS = {"a.npz": ["up", "down"], "b.npz": ["north", "south"]}


@pytest.fixture
def server(lab: Lab) -> Iterator[Server]:
    with lab.serve(port=0) as server:
        yield server


def under_load(
    server: Server,
    path: str,
    body: Any,
    change: Callable[[int], object],
    *,
    clients: int = CLIENTS,
    swaps: int = SWAPS,
) -> list[Any]:
    """Return the answers that several clients got while `change` was called again and again."""
    done = threading.Event()
    answers: list[Any] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
            while not done.is_set():
                answer = client.post(path, json=body)
                assert answer.status_code == 200, answer.text
                answers.append(answer.json())

    def answered(known: int) -> bool:
        return len(answers) > known or any(each.done() for each in asked)

    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(ask) for _ in range(clients)]
        try:
            for number in range(swaps):
                known = len(answers)
                change(number)
                until(partial(answered, known))
        finally:
            done.set()
        for each in asked:
            each.result(SECONDS)
    return answers


def test_a_model_is_swapped_under_load(lab: Lab, server: Server) -> None:
    for sign, (name, labels) in zip((1, -1), LABELS.items(), strict=True):
        np.savez(
            lab.root / name,
            W0=np.array([[sign, -sign], [sign, -sign]], np.float32),
            b0=np.zeros(2, np.float32),
            activations=np.array(["softmax"]),
            labels=np.array(labels),
        )
    np.savez(lab.root / "wide.npz", W0=np.zeros((3, 2), np.float32), b0=np.zeros(2, np.float32))
    model = lab.load_model("a.npz")
    lab.post("/batch")(lambda rows: model.batch(rows))

    def change(number: int) -> None:
        model.swap(lab.root / ("b.npz" if number % 2 == 0 else "a.npz"))
        with pytest.raises(ModelLoadError):
            model.swap(lab.root / "wide.npz")

    rows = [[1, 1], [2, 2], [3, 1]]
    answers = under_load(server, "/batch", rows, change)
    seen = set()
    for answer in answers:
        (name,) = {
            name for name, known in LABELS.items() for row in answer if row["label"] in known
        }
        seen.add(name)
        # the label of one file's positive sum, with that file's own probabilities
        expected = LABELS[name][0 if name == "a.npz" else 1]
        assert [row["label"] for row in answer] == [expected] * 3
        assert [list(row["probabilities"]) for row in answer] == [LABELS[name]] * 3
    assert seen == set(LABELS)


def test_an_entry_is_replaced_under_load(lab: Lab, server: Server) -> None:
    store = lab.vector_store("notes", dimension=2)
    vectors = ([1.0, 0.0], [0.0, 1.0])
    store.add("a", vectors[0], {"version": 0})

    @lab.post("/search")
    def search(query: list[float]) -> Any:
        (hit,) = store.search(query, top_k=1)
        return {"version": hit.metadata["version"], "score": hit.score}

    def change(number: int) -> None:
        store.add("a", vectors[(number + 1) % 2], {"version": number + 1})

    answers = under_load(server, "/search", {"query": [1.0, 0.0]}, change)
    for answer in answers:
        assert answer["score"] == pytest.approx(1 - answer["version"] % 2)
    assert len({answer["version"] for answer in answers}) > 1
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the mapped files of the process")
def test_a_snapshot_is_replaced_under_load(lab: Lab, server: Server, tmp_path: Path) -> None:
    folder, ids = tmp_path / "snapshot", ["a", "b", "c"]
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    writer = VectorStore(2, path=tmp_path / "notes.sqlite")

    def write(version: int) -> None:
        """Replace all entries, each with the vector of another, and then the snapshot."""
        metadatas = [{"version": version}] * len(ids)
        writer.add_many(ids, np.roll(vectors, version, axis=0), metadatas)
        writer.snapshot(folder)

    write(0)
    reader = VectorStore(path=folder)

    @lab.post("/search")
    def search(query: list[float]) -> Any:
        return [[hit.id, hit.metadata["version"], hit.score] for hit in reader.search(query)]

    answers = under_load(
        server, "/search", {"query": [1.0, 0.0]}, lambda n: write(n + 1), clients=2, swaps=12
    )
    for answer in answers:
        (version,) = {version for _, version, _ in answer}  # a whole one
        places = np.roll(vectors, version, axis=0)
        expected = {id: float(vector[0]) for id, vector in zip(ids, places, strict=True)}
        assert {id: score for id, _, score in answer} == pytest.approx(expected, abs=1e-6)
    assert len({answer[0][1] for answer in answers}) > 1
    assert httpx.post(f"{server.url}/search", json={"query": [1.0, 0.0]}).json()[0][1] == 12
    until(lambda: mapped_versions(folder) == {(folder / "current").read_text().strip()})
    reader.close()
    writer.close()


def mapped_versions(folder: Path) -> set[str]:
    """Return the versions of a snapshot whose files this process has mapped or open."""
    gc.collect()
    lines = Path("/proc/self/maps").read_text("utf-8").splitlines()
    places = [line.split(maxsplit=5)[-1] for line in lines if str(folder) in line]
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            places.append(str(link.readlink()))
    return {Path(each).relative_to(folder).parts[0] for each in places if str(folder) in each}


@pytest.mark.long
def test_health_answers_while_a_model_runs_and_half_requests_hang(
    lab: Lab, server: Server, tmp_path: Path
) -> None:
    """Rows 14 and 62: 200 half-sent requests, and a run of about 5 s."""
    weights = np.random.default_rng(0).random((1200, 1200))
    running, over = threading.Event(), threading.Event()

    def long_model(value: Any) -> float:
        running.set()
        ends = perf_counter() + 5
        total = 0.0
        while perf_counter() < ends:
            total += float((weights @ weights)[0, 0])
        over.set()
        return total

    model = lab.load_model(long_model)
    lab.post("/run")(lambda value: model(value))
    waits = []
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        for number in range(200):
            half = stack.enter_context(socket.create_connection((server.host, server.port)))
            head = b"POST /run HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            half.sendall(head if number % 2 else head + b"content-length: 9\r\n\r\n[1,")
        asked = pool.submit(httpx.post, f"{server.url}/run", json=1, timeout=SECONDS)
        assert running.wait(SECONDS)
        with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
            while not over.is_set():
                begun = perf_counter()
                assert client.get("/healthz").status_code == 200
                waits.append(perf_counter() - begun)
        assert asked.result(SECONDS).status_code == 200
    assert statistics.median(waits) < 0.1  # the worst is the machine's
