"""Predictions over HTTP: the CPU time of a request, against FastAPI and bare constants.

Each server is a process on one core, and the load runs on the other; its CPU time is that of the
whole process. The model is a dense network 64 → 256 → 256 → 10, as ONNX and as `.npz`. FastAPI is
measured if `PEER_PYTHON` names a Python with fastapi, uvicorn, uvloop, httptools and onnxruntime;
LitServe and BentoML if it also has litserve or bentoml. Their CPU time is that of all their
processes.

Run it with `PEER_PYTHON=… .venv/bin/python benchmarks/serving.py [rounds] [part of a row's name]`.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import Any, cast

import numpy as np
import psutil
from measure import Row, compared, print_table

from conduit_lab import connect
from conduit_lab.client.request_body import json_body
from conduit_lab.core.spec import Array
from conduit_lab.core.views.figures import rate, seconds

CLIENTS = 64
WIDTHS = (64, 256, 256, 10)
ROUNDS = 5
MEASURE_SECONDS = 1.0
WARM_SECONDS = 0.5
BATCH = 256  # samples per request
BATCH_CLIENTS = 16  # more would fill the model's queue, which rejects them
JSON, RAW, NPY = "application/json", "application/octet-stream", "application/x-npy"

_PROGRAM = str(Path(__file__).with_name("serving_apps.py"))
_WORKERS_PROGRAM = str(Path(__file__).with_name("serving_workers.py"))
_WITH_WORKERS = {"litserve": "LitServe", "bentoml": "BentoML"}
_READY = {"litserve": "/health", "bentoml": "/readyz"}  # they listen before their workers run
_MAX_STOP_SECONDS = 10.0
_START_SECONDS = 60.0


class Served:
    """A server in a separate process, with its workers, on the first core of this process."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = _WORKERS_PROGRAM if name in _WITH_WORKERS else _PROGRAM
        command = [python, program, name, str(self.port), str(folder)]
        own = {"OPENBLAS_NUM_THREADS": "1"} if name == "ours" else {}  # as `conduit-lab serve` does
        self.process = subprocess.Popen(command, env={**os.environ, **own})
        usage = psutil.Process(self.process.pid)
        usage.cpu_affinity([SERVER_CORE])
        deadline = monotonic() + _START_SECONDS
        while True:
            try:
                self._probe(_READY.get(name, ""))
                break
            except (OSError, HTTPException):
                if self.process.poll() is not None or monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"the server {name!r} did not start") from None
                sleep(0.05)
        self._usages = [usage, *usage.children(recursive=True)]
        for each in self._usages:
            each.cpu_affinity([SERVER_CORE])

    def _probe(self, path: str) -> None:
        """Raise `OSError` unless it listens and, if a `path` is given, answers there."""
        client = HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            client.connect()
            if path:
                client.request("GET", path)
                if client.getresponse().status != 200:
                    raise OSError(path)
        finally:
            client.close()

    def cpu_seconds(self) -> float:
        """Return the CPU time of its processes so far."""
        times = [each.cpu_times() for each in self._usages]
        return float(sum(each.user + each.system for each in times))

    def stop(self) -> None:
        """End its processes."""
        if self.process.poll() is not None:
            return
        usage = psutil.Process(self.process.pid)
        processes = [usage, *usage.children(recursive=True)]
        self.process.terminate()
        _, alive = psutil.wait_procs(processes, _MAX_STOP_SECONDS)
        for each in alive:
            each.kill()
        self.process.wait()


class Load(asyncio.Protocol):
    """A client that repeats its request as soon as the answer is complete."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self.answers = 0
        self.going = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the answer once it is complete."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {self._buffer[:400]!r}")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self.answers += 1
        if self.going:
            self.transport.write(self._request)


async def _loaded(server: Served, request: bytes, clients: int) -> float:
    """Return the server's CPU seconds per request under the load."""
    loop = asyncio.get_running_loop()
    loads = [
        (await loop.create_connection(lambda: Load(request), "127.0.0.1", server.port))[1]
        for _ in range(clients)
    ]
    await asyncio.sleep(WARM_SECONDS)
    before, cpu = sum(load.answers for load in loads), server.cpu_seconds()
    await asyncio.sleep(MEASURE_SECONDS)
    answers, cpu = sum(load.answers for load in loads) - before, server.cpu_seconds() - cpu
    for load in loads:
        load.going = False
    await asyncio.sleep(0.05)
    for load in loads:
        load.transport.close()
    return cpu / answers


def cost(server: Served, request: bytes, clients: int = CLIENTS) -> float:
    """Return the server's CPU seconds per request under the load."""
    import uvloop

    return uvloop.run(_loaded(server, request, clients))


def request(path: str, body: bytes = b"", content_type: str = JSON, accept: str = "*/*") -> bytes:
    """Return the bytes of a request."""
    method = "POST" if body else "GET"
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n"
        f"accept: {accept}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextmanager
def served(names: Sequence[tuple[str, str]], folder: Path) -> Iterator[dict[str, Served]]:
    """Run the servers `(name, Python)` during the block."""
    with ExitStack() as stack:
        servers = {}
        for name, python in names:
            server = servers[name] = Served(name, python, folder)
            stack.callback(server.stop)
        yield servers


def write_models(folder: Path) -> None:
    """Write the network as `mlp.onnx` and `mlp.npz`."""
    random = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for i, (wide, narrow) in enumerate(pairwise(WIDTHS)):
        arrays[f"W{i}"] = (random.standard_normal((wide, narrow)) / np.sqrt(wide)).astype("f4")
        arrays[f"b{i}"] = np.zeros(narrow, np.float32)
    names = ["relu"] * (len(WIDTHS) - 2) + ["identity"]
    parts: dict[str, Any] = {"activations": np.array(names), **arrays}
    np.savez(folder / "mlp.npz", **parts)
    (folder / "mlp.onnx").write_bytes(mlp_bytes(arrays))


def mlp_bytes(arrays: dict[str, Array]) -> bytes:
    """Return the network as an ONNX file."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, last, layers = [], "input", len(WIDTHS) - 1
    for i in range(layers):
        nodes += [
            helper.make_node("MatMul", [last, f"W{i}"], [f"product{i}"]),
            helper.make_node("Add", [f"product{i}", f"b{i}"], [f"sum{i}"]),
        ]
        last = f"sum{i}"
        if i < layers - 1:
            nodes.append(helper.make_node("Relu", [last], [f"relu{i}"]))
            last = f"relu{i}"
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", wide])
        for name, wide in (("input", WIDTHS[0]), (last, WIDTHS[-1]))
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def rows(folder: Path, rounds: int) -> Iterator[Row]:
    """Yield the table's rows."""
    write_models(folder)
    random = np.random.default_rng(1)
    sample = random.standard_normal(WIDTHS[0]).astype(np.float32)
    many = random.standard_normal((BATCH, WIDTHS[0])).astype(np.float32)
    one, batch = (json.dumps(array.tolist()).encode() for array in (sample, many))
    python, peer = sys.executable, os.environ.get("PEER_PYTHON")
    names = [("ours", python), ("starlette", python), ("raw", python)]
    names += [("fastapi", peer)] if peer else []
    workers = [each for each in _WITH_WORKERS if peer and _has(peer, each)]
    names += [(each, peer) for each in workers if peer]
    constant = request("/constant", one)
    with served(names, folder) as servers:
        ours = servers["ours"]
        others = [
            ("raw", constant, "a raw ASGI constant"),
            ("starlette", constant, "a Starlette constant"),
        ]
        if peer:
            others += [
                ("fastapi", request("/async", one), "FastAPI async"),
                ("fastapi", request("/sync", one), "FastAPI sync"),
            ]
        features = request("/predict", b'{"features": %b}' % one)
        others += [(each, features, _WITH_WORKERS[each]) for each in workers]
        yield from table(servers, "constant, async", request("/constant"), others[:2], rounds)
        yield from table(servers, "constant, sync", request("/sync-constant"), others[:2], rounds)
        for kind in ("onnx", "npz"):
            for way in ("endpoint", "async", "sync"):
                what = f"one sample, .{kind}, {way}"
                yield from table(servers, what, request(f"/{kind}/{way}", one), others, rounds)
        if peer:
            large = [("fastapi", request("/batch", batch), "FastAPI async")]
            for way, body in ("endpoint", batch), ("typed", b'{"features": %b}' % batch):
                what, asked = f"{BATCH} samples, JSON, .onnx, {way}", request(f"/onnx/{way}", body)
                yield from table(servers, what, asked, large, rounds, BATCH_CLIENTS)
        yield from one_client(ours, one, rounds)
        yield from direct(ours, folder, many, rounds)
        by_hand = [("raw", request("/onnx", many.tobytes(), RAW), "a raw ASGI app, by hand")]
        what = f"{BATCH} samples, raw float32, answered as that, .onnx, endpoint"
        asked = request("/onnx/endpoint", many.tobytes(), RAW, RAW)
        yield from table(servers, what, asked, by_hand, rounds, BATCH_CLIENTS)
        yield from remote(ours, many, rounds)


def _has(python: str, package: str) -> bool:
    """Return whether a Python can import a package; report it if not."""
    tried = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
    if tried.returncode:
        reason = tried.stderr.decode().strip().rpartition("\n")[2]
        print(f"{_WITH_WORKERS[package]} is left out: {reason}", file=sys.stderr)
    return not tried.returncode


def table(
    servers: dict[str, Served],
    what: str,
    asked: bytes,
    others: Sequence[tuple[str, bytes, str]],
    rounds: int,
    clients: int = CLIENTS,
) -> Iterator[Row]:
    """Yield a row per other server, each measured alternately with ours."""
    if ONLY not in what:
        return
    costs = [
        [
            cost(servers["ours"], asked, clients),
            *(cost(servers[name], other, clients) for name, other, _ in others),
        ]
        for _ in range(rounds)
    ]
    for place, (_, _, against) in enumerate(others, 1):
        a, b, ratio = compared([(each[0], each[place]) for each in costs])
        yield f"{what}, {clients} clients", seconds(a), seconds(b), ratio, against


def one_client(ours: Served, one: bytes, rounds: int) -> Iterator[Row]:
    """Yield the cost of batching for a single client: an awaited model against a direct call."""
    what = "one sample, .npz, endpoint, one client"
    if ONLY in what:
        batched, alone = request("/npz/endpoint", one), request("/npz/sync", one)
        a, b, ratio = compared(
            [(cost(ours, batched, 1), cost(ours, alone, 1)) for _ in range(rounds)]
        )
        yield what, seconds(a), seconds(b), ratio, "a handler that calls the model"


def direct(ours: Served, folder: Path, many: Array, rounds: int) -> Iterator[Row]:
    """Yield the rate of many samples per request in binary form, against onnxruntime alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "mlp.onnx"), options)

    def alone() -> float:
        begin, calls = process_time(), 0
        while process_time() - begin < MEASURE_SECONDS / 2:
            session.run(None, {"input": many})
            calls += 1
        return (process_time() - begin) / calls

    npy = io.BytesIO()
    np.save(npy, many)
    raw = many.tobytes()
    requests = [
        ("raw float32", request("/onnx/endpoint", raw, RAW)),
        ("raw float32, answered as .npy", request("/onnx/endpoint", raw, RAW, NPY)),
        ("raw float32, answered as that", request("/onnx/endpoint", raw, RAW, RAW)),
        (".npy", request("/onnx/endpoint", npy.getvalue(), NPY)),
        (".npy, answered as that", request("/onnx/endpoint", npy.getvalue(), NPY, NPY)),
    ]
    for name, asked in requests:
        what = f"{BATCH} samples, {name}, .onnx, endpoint"
        if ONLY not in what:
            continue
        a, b, ratio = compared(
            [(BATCH / cost(ours, asked, BATCH_CLIENTS), BATCH / alone()) for _ in range(rounds)]
        )
        yield what, rate(a, "predictions"), rate(b, "predictions"), ratio, "onnxruntime, CPU time"


def remote(ours: Served, many: Array, rounds: int) -> Iterator[Row]:
    """Yield the CPU time of a call by `connect()`: an array, against JSON both ways."""
    path = "/onnx/endpoint"
    what = f"{BATCH} samples by connect(), .onnx, endpoint"
    if ONLY not in what:
        return
    with connect(f"http://127.0.0.1:{ours.port}") as app:
        endpoint, connection = app.endpoints[path], app._connection

        def in_json() -> object:
            return connection.ask("POST", path, body=json_body(many, "endpoint"))

        ways = (lambda: endpoint(many)), in_json
        costs = [[_remote_cost(ours, way) for way in ways] for _ in range(rounds + 1)][1:]
    for place, whose in enumerate(("client", "server")):
        a, b, ratio = compared([(array[place], text[place]) for array, text in costs])
        yield f"{what}, {whose}", seconds(a), seconds(b), ratio, "JSON both ways"


def _remote_cost(server: Served, call: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU seconds per call of this process and of the server."""
    here, there, calls = process_time(), server.cpu_seconds(), 0
    end = monotonic() + MEASURE_SECONDS
    while monotonic() < end:
        call()
        calls += 1
    return (process_time() - here) / calls, (server.cpu_seconds() - there) / calls


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as folder:
        print_table(rows(Path(folder), rounds))


CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
ONLY = sys.argv[2] if len(sys.argv) > 2 else ""  # measure only these rows

if __name__ == "__main__":
    main()
