"""The demo: run a notebook, install its exported app in a clean environment, send it requests."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from conduit_lab.core.errors import ConduitError, MissingExtra
from conduit_lab.core.paths import find_root
from conduit_lab.core.views import figures, html
from conduit_lab.export.clean_world import running
from conduit_lab.export.environment import make_environment
from conduit_lab.serving.recorded import Example
from conduit_lab.vectors.store import VectorStore

OPEN_STREAMS = 50
QUESTION = "Where is my refund for the fridge?"
LETTER = (
    "The parcel came two days late. The box was open and a hose was missing. "
    "Can I send it back, or is this a case for the warranty? Please tell me how to log in, too."
)


def run_demo(notebook: Path) -> int:
    """Run the demo on `notebook`, which exports to `build/tour`, and return the exit status."""
    root = find_root()
    folder = root / "build" / "tour"
    try:
        _run_notebook(root / notebook)
        python = _environment(folder)
        with ExitStack() as stack:
            with _step("starting the exported app in that environment"):
                server = running(folder, python=str(python), environ=_clean_environ(python))
                port = stack.enter_context(server)
            with _step("sending requests"):
                answers = _ask_everything(port, folder)
            with _step("measuring"):
                measured = _measure(port, folder)
    except ConduitError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    print()
    print(html.columns(("endpoint", "request", "answer", "time"), answers, numeric=("time",)))
    print()
    heads = ("measurement", "target", "measured", "")
    print(html.columns(heads, measured, numeric=("target", "measured")))
    print(f"\nThe app is in {folder.relative_to(root)}. Next: `make lab` opens its notebook.")
    return 0


@contextmanager
def _step(text: str) -> Iterator[Callable[[str], None]]:
    """Print one line per step, with its duration at the end; a terminal also shows progress."""
    live = sys.stdout.isatty()
    begin = perf_counter()

    def show(detail: str) -> None:
        if live:
            print(f"\r\033[K· {text}: {detail}", end="", flush=True)

    print(f"· {text} …", end="" if live else "\n", flush=True)
    yield show
    start = "\r\033[K" if live else ""
    print(f"{start}✓ {text} ({figures.seconds(perf_counter() - begin)})", flush=True)


def _run_notebook(path: Path) -> None:
    """Execute every cell and write the executed notebook to `build/`."""
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        raise MissingExtra("nbclient", "lab", "running a notebook") from error
    if not path.is_file():
        raise ConduitError(f"no notebook at {path}: run this in a clone of the project")
    notebook = nbformat.read(path, as_version=4)
    total = len(notebook.cells)
    with _step(f"running {path.name}") as show:
        client = NotebookClient(
            notebook,
            timeout=300,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_start=lambda cell, cell_index: show(f"cell {cell_index + 1} of {total}"),
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise ConduitError(
                f"a cell of {path.name} failed: {error.ename}: {error.evalue}"
            ) from error
    out = find_root() / "build" / path.name
    nbformat.write(notebook, out)


def _environment(folder: Path) -> Path:
    """Return the Python of an environment with the export's requirements; reuse it if unchanged."""
    place = folder.parent / f"{folder.name}-env"
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    wheel = next((folder / "lib").glob("*.whl"))
    requirements = (folder / "requirements.txt").read_bytes()
    digest = hashlib.sha256(requirements + wheel.read_bytes()).hexdigest()
    stamp = place / "installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    with _step(f"installing {folder.name}/requirements.txt in a clean environment"):
        make_environment(folder, place)  # in place, pip would keep a wheel of the same version
        stamp.write_text(digest)
    return python


def _clean_environ(python: Path) -> dict[str, str]:
    """Return environment variables without this process's own, with that Python first in PATH."""
    names = ("HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PATH": os.pathsep.join([str(python.parent), os.defpath])}


def _ask_everything(port: int, folder: Path) -> list[tuple[str, str, str, str]]:
    """Send a new request to each kind of endpoint and return endpoint, request, answer and time."""
    vector = _recorded(folder, "/vote")
    requests: list[tuple[str, str, Any, Callable[[Any], str]]] = [
        (
            "prediction",
            "/predict",
            {"embedding": vector},
            lambda a: f"{a['label']}, {a['score']:.0%} sure",
        ),
        (
            "pipeline",
            "/analyze",
            {"text": QUESTION},
            lambda a: f"{a['topic']['label']}, {a['mood']['label']}",
        ),
        (
            "ensemble",
            "/vote",
            vector,
            lambda a: f"{a['label']}, {a['score']:.0%} in the mean of three",
        ),
        (
            "search",
            "/search",
            {"query": QUESTION, "top_k": 1},
            lambda a: str(a["results"][0]["id"]),
        ),
    ]
    rows = []
    for kind, path, payload, summary in requests:
        begin = perf_counter()
        with _connect(port) as connection:
            answer = _post(connection, path, payload)
        rows.append((f"{kind} {path}", _short(json.dumps(payload)), summary(answer), _since(begin)))
    begin = perf_counter()
    times = [
        (event["chunk"].strip(), perf_counter() - begin)
        for event in _events(port, "/triage", {"text": LETTER})
    ]
    for i, (text, at) in enumerate(times[:-1]):  # the last event only marks the end
        request = ("stream /triage", "a letter of four sentences") if i == 0 else ("", "")
        rows.append((*request, _short(text), figures.seconds(at)))
    return rows


def _recorded(folder: Path, path: str) -> Any:
    """Return the payload of one of the notebook's calls of `path`."""
    examples = map(Example.from_json, (folder / "examples.jsonl").read_text("utf-8").splitlines())
    return next(example.payload for example in examples if example.path == path)


def _short(text: str) -> str:
    return text if len(text) <= 56 else f"{text[:54]} …"


def _since(begin: float) -> str:
    return figures.seconds(perf_counter() - begin)


def _connect(port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60))


def _post(connection: http.client.HTTPConnection, path: str, payload: Any) -> Any:
    """Return the JSON answer of one request. Raises `ConduitError` for any status but 200."""
    connection.request("POST", path, json.dumps(payload), {"content-type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise ConduitError(
            f"POST {path} answered {response.status}: {content.decode('utf-8', 'replace')[:300]}"
        )
    return json.loads(content)


def _open_stream(
    connection: http.client.HTTPConnection, path: str, payload: Any
) -> http.client.HTTPResponse:
    """Request a stream and return the response after reading only its headers."""
    connection.request("POST", path, json.dumps(payload), {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise ConduitError(f"POST {path} answered {response.status}")
    return response


def _events(port: int, path: str, payload: Any) -> Iterator[Any]:
    """Yield the data of each server-sent event."""
    with _connect(port) as connection, _open_stream(connection, path, payload) as response:
        for line in response:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def _measure(port: int, folder: Path) -> list[tuple[str, str, str, str]]:
    """Return a row (measurement, target, measured, verdict) per performance target."""
    verdicts: dict[bool, str] = {True: "✓ reached", False: "✕ missed"}
    rows = []

    def below(name: str, limit: float, value: float, unit: Callable[[float], str]) -> None:
        rows.append((name, f"< {unit(limit)}", unit(value), verdicts[value < limit]))

    gaps, connects = _stream_times(port)
    below("a chunk arrives (longest wait in /triage)", 0.1, max(gaps), figures.seconds)
    begin = perf_counter()
    chunks = sum(1 for _ in _events(port, "/read", {"section": "products"}))
    rate = chunks / (perf_counter() - begin)
    shown = f"{rate:,.0f}".replace(",", " ")
    name = "chunks per second (/read, one client)"
    rows.append((name, "≥ 1 000", shown, verdicts[rate >= 1000]))
    connect = statistics.median(connects)
    below("a stream opens (connection to headers)", 0.01, connect, figures.seconds)
    memory = _memory_per_stream(port)
    below(f"memory per stream ({OPEN_STREAMS} open)", 5 * 2**20, memory, figures.size)
    search, add = _store_times(folder)
    below("a vector search", 0.01, search, figures.seconds)
    below("a vector added, durably", 0.001, add, figures.seconds)
    below("a prediction over HTTP", 0.005, _predict_time(port, folder), figures.seconds)
    return rows


def _stream_times(port: int) -> tuple[list[float], list[float]]:
    """Return the gaps between chunks and the times to open a stream, both in seconds."""
    gaps, connects = [], []
    for _ in range(5):
        begin = perf_counter()
        with (
            _connect(port) as connection,
            _open_stream(connection, "/triage", {"text": LETTER}) as response,
        ):
            connects.append(perf_counter() - begin)
            last = begin
            for line in response:
                if line.startswith(b"data: "):
                    now = perf_counter()
                    gaps.append(now - last)
                    last = now
    return gaps, connects


def _memory_per_stream(port: int) -> float:
    """Return the server's memory growth in bytes per open stream that no client reads."""
    import psutil  # comes with ipykernel

    server = next(p for p in psutil.Process().children() if "uvicorn" in p.cmdline())
    before = server.memory_info().rss
    with ExitStack() as streams:
        for _ in range(OPEN_STREAMS):
            connection = streams.enter_context(_connect(port))
            streams.enter_context(_open_stream(connection, "/read", {"section": "products"}))
        grown: int = server.memory_info().rss - before
    return max(grown, 0) / OPEN_STREAMS


def _store_times(folder: Path) -> tuple[float, float]:
    """Return the median seconds of a search and of a durable add, on a copy of the index."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy.sqlite"
        shutil.copy2(folder / "indexes" / "handbook.sqlite", copy)
        with VectorStore(path=copy) as store:
            vectors = [entry.embedding for entry in store][:100]
            search = statistics.median(
                _timed(partial(store.search, vector, top_k=5)) for vector in vectors
            )
            add = statistics.median(
                _timed(partial(store.add, f"new-{i}", v)) for i, v in enumerate(vectors)
            )
    return search, add


def _predict_time(port: int, folder: Path) -> float:
    """Return the median seconds of one prediction over a persistent connection."""
    payload = _recorded(folder, "/predict")
    with _connect(port) as connection:
        return statistics.median(
            _timed(partial(_post, connection, "/predict", payload)) for _ in range(100)
        )


def _timed(call: Callable[[], Any]) -> float:
    begin = perf_counter()
    call()
    return perf_counter() - begin
