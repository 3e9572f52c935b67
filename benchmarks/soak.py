"""A served app under minutes of mixed load with 1 % faults: all answers correct, nothing grows.

The app runs in a separate process under `conduit-lab serve`; its memory, descriptors and threads
are sampled every second. Clients request values, predictions, large bodies, searches and streams,
resume interrupted streams, and abandon streams; through the OpenAI API they request embeddings,
completions and chats, complete, streamed to the end or abandoned (chats only if `make chat-model`
has made the model). The faults are half-sent requests, invalid bodies and aborted streams. The exit
status is 1 if an answer was wrong or a figure grew.

Run it with `.venv/bin/python benchmarks/soak.py [--seconds 600]`.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, NamedTuple

import numpy as np
import psutil
from served_process import CLI, free_port, started

from conduit_lab.core.views import figures
from conduit_lab.core.views.html import columns

SECONDS = 600.0
CLIENTS = 6
FAULT_SHARE = 0.01
WARM_SHARE = 0.25  # of the time, before figures are compared
MAX_GROWTH_BYTES = 12 * 2**20  # of the median memory, from the first to the last part
MAX_GROWTH_SHARE = 0.05
SETTLE_SECONDS = 40.0  # after the load, for descriptors and threads to be released
TIMEOUT = 30.0  # per answer
IDLE_SECONDS = 3.0  # before reopening a connection: the server closes idle ones after 5
WORKER_THREADS = 40  # in anyio's pool, which keeps idle threads
TOKENS = 8  # per completion or chat, none of which ends earlier
MODELS = Path(__file__).parents[1] / "data" / "models"
TEXTS = ["A kettle", "The refund of an order", "Once upon a time", "Where is my parcel?"]
EMBEDDINGS: dict[str, list[float]] = {}  # recorded before the load
COMPLETIONS: dict[str, str] = {}
HAS_CHAT = (MODELS / "chat" / "model.onnx").is_file()

APP = """
import time
from pathlib import Path

from conduit_lab import App

app = App("soak", root=Path(__file__).parent, protocols=["stores", "openai"])
app.load_model(MODELS + "/minilm", device="cpu")
app.load_model(MODELS + "/writer", device="cpu")
if HAS_CHAT:
    app.load_model(MODELS + "/chat", device="cpu")
store = app.vector_store("notes", dimension=8)

@app.post("/double")
def double(n: int) -> int:
    return 2 * n

@app.post("/later")
async def later(n: int) -> int:
    return n + 1

@app.post("/echo")
def echo(value):
    return value

@app.post("/refuse")
def refuse(n: int) -> int:
    raise RuntimeError("as asked")

@app.ml_endpoint("/predict", model="sign.npz")
def predict(body):
    return body["x"]

@app.ml_stream("/count")
def count(n: int, pause: float = 0.0):
    for number in range(n):
        yield {"number": number}
        if pause:
            time.sleep(pause)

@app.ml_stream("/acount")
async def acount(n: int):
    for number in range(n):
        yield {"number": number}

@app.ml_stream("/kept", resume=3)
def kept(n: int):
    for number in range(n):
        yield {"number": number}
        time.sleep(0.002)

"""


class Sample(NamedTuple):
    """The server's memory in bytes, its descriptors and its threads."""

    memory: int
    descriptors: int
    threads: int


class Client(threading.Thread):
    """Sends requests sequentially until `ends`, and checks each answer."""

    def __init__(self, number: int, port: int, ends: float) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.random = random.Random(number)
        self.port = port
        self.ends = ends
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._used = monotonic()

    def run(self) -> None:
        """Send random requests of all kinds, by weight."""
        kinds = list(REQUESTS)
        weights = list(REQUESTS.values())
        while monotonic() < self.ends:
            faulty = self.random.random() < FAULT_SHARE
            act = self.random.choice(FAULTS) if faulty else self.random.choices(kinds, weights)[0]
            try:
                problem = act(self)
            except (OSError, HTTPException, ValueError, KeyError) as error:
                problem = repr(error)
                self._connection.close()
            self.counts[act.__name__] += 1
            if problem is not None:
                self.wrong.append(f"{act.__name__}: {problem}")
        self._connection.close()

    def ask(self, path: str, body: Any, status: int = 200) -> Any:
        """Return the JSON answer to a POST."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        self._connection.request("POST", path, data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        self._used = monotonic()
        if answer.status != status:
            raise ValueError(f"{path} expected {status}, got {answer.status}: {text[:200]!r}")
        return json.loads(text)

    @contextmanager
    def stream(self, path: str, body: Any, last_id: str = "") -> Iterator[HTTPResponse]:
        """Yield the response of a stream, on a separate connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        headers = {"content-type": "application/json"}
        if last_id:
            headers["last-event-id"] = last_id
        try:
            connection.request("POST", path, json.dumps(body), headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


# Requests: each returns None, or a problem with its answer


def double(client: Client) -> str | None:
    """Call a sync endpoint with a typed parameter."""
    n = client.random.randrange(10**6)
    return _same(client.ask("/double", {"n": n}), 2 * n)


def later(client: Client) -> str | None:
    """Call an async endpoint."""
    n = client.random.randrange(10**6)
    return _same(client.ask("/later", {"n": n}), n + 1)


def large(client: Client) -> str | None:
    """Send 50 to 200 KB and get them back."""
    values = [client.random.random() for _ in range(client.random.randrange(2_500, 10_000))]
    return _same(client.ask("/echo", values), values)


def predict(client: Client) -> str | None:
    """Call a model endpoint."""
    x = [client.random.uniform(0.1, 1.0), client.random.uniform(0.1, 1.0)]
    up = client.random.random() < 0.5
    answer = client.ask("/predict", {"x": x if up else [-each for each in x]})
    return _same(answer["label"], "up" if up else "down")


def search(client: Client) -> str | None:
    """Search the store for one of its own entries."""
    n = client.random.randrange(ENTRIES)
    body = {"query": VECTORS[n].tolist(), "top_k": 3, "where": {"even": n % 2 == 0}}
    answer = client.ask("/v1/stores/notes/search", body)
    return _same(answer["hits"][0]["id"], f"e{n}")


def whole_stream(client: Client) -> str | None:
    """Read a stream to its end."""
    n = client.random.randrange(200)
    path = client.random.choice(["/count", "/acount"])
    with client.stream(path, {"n": n}) as answer:
        return _same([number for _, number in events(answer)], list(range(n)))


def resumed_stream(client: Client) -> str | None:
    """Disconnect from a stream in the middle, then resume it."""
    n, seen, last_id = client.random.randrange(5, 40), [], ""
    leave = client.random.randrange(1, 5)
    with client.stream("/kept", {"n": n}) as answer:
        for event_id, number in events(answer):
            seen.append(number)
            last_id = event_id
            if len(seen) == leave:
                break
    with client.stream("/kept", {"n": n}, last_id) as answer:
        if answer.status != 204:
            seen += [number for _, number in events(answer)]
    return _same(seen, list(range(n)))


def left_stream(client: Client) -> str | None:
    """Abandon a stream."""
    seen = []
    with client.stream("/count", {"n": 10**6, "pause": 0.001}) as answer:
        for _, number in events(answer):
            seen.append(number)
            if number == 3:
                break
    return _same(seen, [0, 1, 2, 3])


def embedding(client: Client) -> str | None:
    """Request the embedding of one of the texts through the OpenAI API."""
    text = client.random.choice(TEXTS)
    return _same_vector(ask_embedding(client, text), EMBEDDINGS[text])


def completion(client: Client) -> str | None:
    """Read a streamed completion to its end through the OpenAI API."""
    prompt = client.random.choice(TEXTS)
    return _same("".join(completion_parts(client, prompt)), COMPLETIONS[prompt])


def left_completion(client: Client) -> str | None:
    """Abandon a streamed completion after its first chunk."""
    prompt = client.random.choice(TEXTS)
    first = next(part for part in completion_parts(client, prompt, tokens=400) if part)
    return _same(COMPLETIONS[prompt].startswith(first), True)


def ask_embedding(client: Client, text: str) -> list[float]:
    """Return the embedding of a text."""
    answer = client.ask("/v1/embeddings", {"model": "minilm", "input": text})
    vector: list[float] = answer["data"][0]["embedding"]
    return vector


def completion_parts(client: Client, prompt: str, tokens: int = TOKENS) -> Iterator[str]:
    """Yield the texts of a completion's chunks; with temperature 0 they are reproducible."""
    body = {"model": "writer", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    for choice in choices(client, "/v1/completions", body):
        yield choice["text"]


# The chat model is int8: the rows of a batch share the scale of their activations, so a near tie
# may resolve differently in another batch, even for the end token: an answer has at most TOKENS
# tokens


def chat(client: Client) -> str | None:
    """Request a complete chat completion through the OpenAI API."""
    answer = client.ask("/v1/chat/completions", chat_body(client))
    choice, usage = answer["choices"][0], answer["usage"]
    if not choice["message"]["content"]:
        return "an empty message"
    tokens = usage["completion_tokens"]
    if not 0 < tokens <= TOKENS:
        return f"expected 1 to {TOKENS} tokens, got {tokens}"
    if tokens == TOKENS:  # the end may be the last of them
        return _one_of(choice["finish_reason"], "length", "stop")
    return _same(choice["finish_reason"], "stop")


def streamed_chat(client: Client) -> str | None:
    """Read a streamed chat completion to its end."""
    found = list(choices(client, "/v1/chat/completions", chat_body(client)))
    if not "".join(each["delta"].get("content") or "" for each in found):
        return "an empty message"
    return _one_of(found[-1]["finish_reason"], "length", "stop")


def left_chat(client: Client) -> str | None:
    """Abandon a streamed chat completion after its first chunk."""
    parts = choices(client, "/v1/chat/completions", chat_body(client, tokens=400))
    first = next(each["delta"]["content"] for each in parts if each["delta"].get("content"))
    return None if first else "an empty message"


def chat_body(client: Client, tokens: int = TOKENS) -> dict[str, Any]:
    """Return the body of a chat completion."""
    messages = [{"role": "user", "content": client.random.choice(TEXTS)}]
    return {"model": "chat", "messages": messages, "max_tokens": tokens, "temperature": 0}


def choices(client: Client, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the first choice of each chunk of a streamed answer."""
    with client.stream(path, {**body, "stream": True}) as answer:
        if answer.status != 200:
            raise ValueError(f"expected a stream, got {answer.status}")
        lines = (line[6:].strip() for line in answer if line.startswith(b"data: "))
        for line in lines:
            if line == b"[DONE]":
                return
            yield json.loads(line)["choices"][0]
    raise ValueError("the stream ended without [DONE]")


def _one_of(got: Any, *expected: Any) -> str | None:
    return None if got in expected else f"expected one of {expected}, got {got}"


def _same_vector(got: list[float], expected: list[float]) -> str | None:
    near = len(got) == len(expected) and np.allclose(got, expected, atol=1e-5)
    return None if near else f"another vector: {got[:3]} for {expected[:3]}"


REQUESTS: dict[Callable[[Client], str | None], int] = {
    double: 30,
    later: 15,
    predict: 20,
    search: 15,
    large: 4,
    whole_stream: 10,
    resumed_stream: 3,
    left_stream: 3,
    embedding: 8,
    completion: 4,
    left_completion: 2,
}
if HAS_CHAT:
    REQUESTS |= {chat: 2, streamed_chat: 3, left_chat: 1}

# Faults


def half_sent(client: Client) -> str | None:
    """Send part of a request, wait, and disconnect."""
    with client.connect() as connection:
        head = b"POST /double HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        whole = head + b'content-length: 10\r\n\r\n{"n": 12}'
        connection.sendall(whole[: client.random.randrange(1, len(whole))])
        sleep(client.random.uniform(0.0, 0.5))
    return None


def held_half(client: Client) -> str | None:
    """Send part of a request on a connection that stays open until the end."""
    HELD.append(client.connect())
    HELD[-1].sendall(b"POST /double HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-le")
    return None


def wrong_body(client: Client) -> str | None:
    """Send a body that is not JSON or does not match the signature."""
    bodies = (b"{", b"[1", b"\xff\xfe", b"null", b'{"n": "x"}', b'{"m": 1}', b"[" * 10_000)
    body = client.random.choice(bodies)
    return _same(client.ask("/double", body, 400)["error"]["status"], 400)


def wrong_place(client: Client) -> str | None:
    """Request a nonexistent path, and too many hits."""
    client.ask("/nowhere", {}, 404)
    client.ask("/v1/stores/notes/search", {"query": [1] * 8, "top_k": 10**12}, 400)
    return _same(client.ask("/v1/stores/nots/search", {"query": [1]}, 404)["error"]["status"], 404)


def failing(client: Client) -> str | None:
    """Call an endpoint that fails."""
    return _same(client.ask("/refuse", {"n": 1}, 500)["error"]["type"], "internal")


def aborted(client: Client) -> str | None:
    """Reset the connection in the middle of a stream."""
    with client.connect() as connection:
        linger = struct.pack("ii", 1, 0)  # close() sends a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        body = b'{"n": 1000000}'
        connection.sendall(
            b"POST /count HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        first = connection.recv(1000)
    return None if b" 200 " in first else f"expected a stream, got {first[:100]!r}"


def foreign(client: Client) -> str | None:
    """Send another site's host name, as in a DNS rebinding attack."""
    with client.connect() as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: example.com\r\n\r\n")
        first = connection.recv(1000)
    return None if b" 421 " in first else f"expected a 421, got {first[:100]!r}"


def garbage(client: Client) -> str | None:
    """Send bytes that are not HTTP."""
    with client.connect() as connection, suppress(OSError):
        connection.sendall(client.random.randbytes(client.random.randrange(1, 2_000)))
        connection.recv(100)
    return None


FAULTS: list[Callable[[Client], str | None]] = [
    half_sent,
    held_half,
    wrong_body,
    wrong_place,
    failing,
    aborted,
    foreign,
    garbage,
]
ENTRIES = 500
VECTORS = np.random.default_rng(7).normal(size=(ENTRIES, 8))
HELD: list[socket.socket] = []


def _same(got: Any, expected: Any) -> str | None:
    return None if got == expected else f"expected {str(expected)[:80]}, got {str(got)[:80]}"


def events(answer: HTTPResponse) -> Iterator[tuple[str, int]]:
    """Yield the ID and the number of each event of a stream."""
    if answer.status != 200:
        raise ValueError(f"expected a stream, got {answer.status}")
    last_id = ""
    for line in answer:
        if line.startswith(b"id: "):
            last_id = line[4:].strip().decode()
        elif line.startswith(b"event: "):
            raise ValueError(f"expected chunks alone, got {line!r}")
        elif line.startswith(b"data: "):
            yield last_id, json.loads(line[6:])["number"]


# The server


@contextmanager
def serving(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Serve the app of a folder in a separate process."""
    (folder / "app.py").write_text(f"MODELS, HAS_CHAT = {str(MODELS)!r}, {HAS_CHAT}\n{APP}")
    np.savez(
        folder / "sign.npz",
        W0=np.array([[1, -1], [1, -1]], np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["softmax"]),
        labels=np.array(["up", "down"]),
    )
    from conduit_lab import VectorStore

    (folder / "indexes").mkdir()
    with VectorStore(8, path=folder / "indexes" / "notes.sqlite") as store:
        even = [{"even": n % 2 == 0} for n in range(ENTRIES)]
        store.add_many([f"e{n}" for n in range(ENTRIES)], VECTORS, even)
    port = free_port()
    command = [*CLI, "serve", str(folder), f"--port={port}"]
    with (folder / "log").open("wb") as log, started(command, port, stdout=log, stderr=log) as own:
        yield psutil.Process(own.pid), port


def sample(server: psutil.Process) -> Sample:
    """Return the server's current figures."""
    with server.oneshot():
        return Sample(server.memory_info().rss, server.num_fds(), server.num_threads())


def settled(server: psutil.Process, before: Sample) -> Sample:
    """Wait at most `SETTLE_SECONDS` for the figures to return to their values before the load."""
    ends = monotonic() + SETTLE_SECONDS
    now = sample(server)
    while monotonic() < ends and now.descriptors > before.descriptors:
        sleep(0.5)
        now = sample(server)
    return now


def main() -> int:
    """Run the load, print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load")
    seconds = parser.parse_args().seconds
    with TemporaryDirectory() as folder, serving(Path(folder)) as (server, port):
        first = Client(-2, port, 0.0)
        for text in TEXTS:
            EMBEDDINGS[text] = ask_embedding(first, text)
            COMPLETIONS[text] = "".join(completion_parts(first, text))
        warm = Client(-1, port, monotonic() + 2.0)  # opens everything that first requests open
        warm.start()
        warm.join()
        before = sample(server)
        ends = monotonic() + seconds
        clients = [Client(number, port, ends) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        samples: list[Sample] = []
        while monotonic() < ends:
            sleep(1.0)
            samples.append(sample(server))
        for client in clients:
            client.join(2 * TIMEOUT)
        hanging = sum(client.is_alive() for client in clients)
        for each in HELD:
            each.close()
        after = settled(server, before)
        cpu = sum(server.cpu_times()[:2])
    return report(seconds, clients, samples, before, after, hanging, cpu)


def report(
    seconds: float,
    clients: list[Client],
    samples: list[Sample],
    before: Sample,
    after: Sample,
    hanging: int,
    cpu: float,
) -> int:
    """Print the counts and figures; return 1 if one of them is wrong."""
    counts: Counter[str] = sum((client.counts for client in clients), Counter())
    wrong = [problem for client in clients for problem in client.wrong]
    faults = sum(counts[act.__name__] for act in FAULTS)
    rows = [(name, figures.count(number)) for name, number in counts.most_common()]
    print(columns(("request", "count"), rows, numeric=("count",)))
    warm = samples[int(len(samples) * WARM_SHARE) :]
    part = max(1, len(warm) // 4)
    first, last = (
        statistics.median(each.memory for each in some) for some in (warm[:part], warm[-part:])
    )
    growth = last - first
    fifths = [samples[len(samples) * n // 5 : len(samples) * (n + 1) // 5] for n in range(5)]
    course = ", ".join(
        figures.size(int(statistics.median(each.memory for each in some)))
        for some in fifths
        if some
    )
    peak = max(each.memory for each in samples)
    total = sum(counts.values())
    print(
        f"\n{figures.count(total)} requests in {figures.seconds(seconds)}, {faults} of them faults "
        f"({faults / total:.2%}); {figures.seconds(cpu)} of the server's CPU"
        f"\nwrong answers: {len(wrong)}, clients that hang: {hanging}"
        f"\nmemory: {figures.size(int(first))} after the warm-up, {figures.size(int(last))} at the "
        f"end, {figures.size(peak)} at most; medians of each fifth: {course}"
        f"\ndescriptors: {before.descriptors} before, {after.descriptors} after"
        f"\nthreads: {before.threads} before, {after.threads} after, "
        f"{max(each.threads for each in samples)} at most"
    )
    for problem in wrong[:10]:
        print(f"  {problem}")
    flat = growth <= max(MAX_GROWTH_BYTES, MAX_GROWTH_SHARE * first)
    freed = (
        after.descriptors <= before.descriptors and after.threads <= before.threads + WORKER_THREADS
    )
    good = flat and freed and not wrong and not hanging
    print("✓ flat, and every answer right" if good else "✕ not as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
