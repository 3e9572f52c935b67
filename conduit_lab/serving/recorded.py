"""Recorded calls: the newest requests of each endpoint and their answers, as examples."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Columns, Line
from conduit_lab.core.views.sections import Code
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.serving import codec
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, Proof
from conduit_lab.serving.text_values import query_pairs, query_text

MAX_EXAMPLES = 20  # per endpoint, so that a long-running lab does not grow
MAX_EXAMPLE_BYTES = 16 * 2**20  # per endpoint, as JSON; the newest is always kept

_MAX_CHUNK_CHARACTERS = 80  # shown
_SETTLE_SECONDS = 10.0  # to wait for the thread that records an ended stream
_UNWRITTEN = ("seconds",)  # in a line
_USED = ("stores", "files")  # names and relative paths in a line
_OPTIONAL = ("by_model", "sampled", "varies", "int8", *_USED)  # written unless empty
_MODEL_KINDS = frozenset({"predict", "encode", "generate"})  # span kinds
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True)
class UnopenedStore:
    """A store file that was opened by a call of an earlier session, but not in this one."""

    name: str
    path: Path
    version: int = 0


@dataclass(repr=False)
class Example(Viewed):
    """One recorded call: its request, its answer, and the stores and files that it used.

    `answer` is a JSON value; for a stream, the list of its chunks. `writes` is true if the call
    changed a store, `shared` if that store is on a server, which a replay must not modify.
    `by_model` is true if a model ran, `sampled` if it generated text, `varies` if equal requests
    get different answers, and `int8` if the export runs its models in int8. `stores` pairs each
    used store with its version at the time; `files` are the loaded model files, and `seconds` is
    the duration.
    """

    method: str
    path: str
    shape: str
    payload: Any
    answer: Any
    writes: bool = False
    shared: bool = False
    by_model: bool = False
    sampled: bool = False
    varies: bool = False
    int8: bool = False
    path_params: dict[str, Any] = field(default_factory=dict)
    stores: list[tuple[Any, int]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def request(self) -> tuple[str, str, str]:
        """Method, target and payload, which identify the example."""
        return self.method, self.target, json.dumps(self.payload, sort_keys=True)

    @property
    def target(self) -> str:
        """The percent-encoded path with its parameters filled in, and the query of a GET."""
        values = self.path_params
        parts = _PARAMETER.split(self.path)  # literals, with names at odd indices
        parts[1::2] = [query_text(values.get(name, f"{{{name}}}")) for name in parts[1::2]]
        path = quote("".join(parts), "/")
        query = urlencode(query_pairs(self.payload or {})) if self.method == "GET" else ""
        return f"{path}?{query}" if query else path

    @property
    def stale(self) -> bool:
        """Whether a store it used has changed since."""
        return any(store.version != version for store, version in self.stores)

    def answer_line(self, width: int) -> str:
        """Return its answer on one line, for a stream after the number of chunks."""
        line = codec.preview(self.answer, width)
        if self.shape != "stream":
            return line
        return f"{figures.plural(len(self.answer), 'chunk')}: {line}"

    def _answer_lines(self) -> list[str]:
        """Return the start of its answer, for a stream with a line per chunk."""
        if self.shape != "stream":
            return [codec.indented(self.answer)]
        chunks = self.answer[: codec.MAX_SHOWN_LINES]
        more = [] if len(chunks) == len(self.answer) else ["…"]
        return [codec.preview(chunk, _MAX_CHUNK_CHARACTERS) for chunk in chunks] + more

    def _view(self) -> View:
        used = ", ".join(str(getattr(store, "name", "store")) for store, _ in self.stores)
        facts = [
            figures.plural(len(self.answer), "chunk") if self.shape == "stream" else "",
            f"{'writes' if self.writes else 'reads'} {used}" if used else "",
            figures.plural(len(self.files), "model file") if self.files else "",
        ]
        request = [Line("request", "quiet"), Code([codec.indented(self.payload)])]
        answer = [Line("answer", "quiet"), Code(self._answer_lines())]
        return View(
            "Example",
            f"{self.method} {self.target}",
            list(filter(None, facts)),
            pieces=[Columns([request, answer])],
        )

    def to_json(self, root: Path | None = None) -> str:
        """Return its line of `examples.jsonl`; with `root`, include the files and stores used."""
        record = {each.name: getattr(self, each.name) for each in fields(self)}
        record |= {"stores": [], "files": []}
        if root is not None:
            own = [path for path in self.files if path.is_relative_to(root)]
            record["files"] = [path.relative_to(root).as_posix() for path in own]
            record["stores"] = [store.name for store, _ in self.stores]
        for name in _UNWRITTEN:
            del record[name]
        for name in _OPTIONAL:
            if not record[name]:
                del record[name]
        line = json.dumps(record, ensure_ascii=False)
        try:
            line.encode()
        except UnicodeEncodeError:  # lone surrogates cannot be encoded
            return json.dumps(record)
        return line

    @classmethod
    def from_json(cls, line: str) -> Example:
        """Parse a line of `examples.jsonl`, ignoring the stores and files in it."""
        record = json.loads(line)
        return cls(**{key: value for key, value in record.items() if key not in _USED})


class _Entry(NamedTuple):
    """One call as JSON text, parsed to an `Example` on demand."""

    number: int
    endpoint: Endpoint[..., Any]
    payload: bytes
    path_params: bytes
    answer: bytes
    record: CallRecord
    stores: list[tuple[Any, int]]
    kinds: frozenset[str]
    seconds: float

    @property
    def request(self) -> tuple[bytes, bytes]:
        return self.payload, self.path_params

    @property
    def size(self) -> int:
        return len(self.payload) + len(self.answer)

    def example(self) -> Example:
        endpoint, written = self.endpoint, self.record.written.values()
        return Example(
            endpoint.method,
            endpoint.path,
            endpoint.shape,
            json.loads(self.payload),  # not orjson, which rejects lone surrogates and rounds
            json.loads(self.answer),  # integers above 64 bits
            writes=bool(written),
            shared=any(getattr(store, "url", None) is not None for store in written),
            by_model=bool(self.record.files) or bool(self.kinds & _MODEL_KINDS),
            sampled="generate" in self.kinds,
            varies=endpoint.varies,
            path_params=json.loads(self.path_params),
            stores=self.stores,
            files=list(self.record.files),
            seconds=self.seconds,
        )


class _Restored(NamedTuple):
    """A call of an earlier session, from a line in its export."""

    number: int
    endpoint: Endpoint[..., Any]
    request: tuple[bytes, bytes]
    size: int
    example: Callable[[], Example]


class _Kept:
    """The newest calls of one endpoint by request, and their total size."""

    __slots__ = ("entries", "size")

    def __init__(self) -> None:
        self.entries: dict[tuple[bytes, bytes], _Entry | _Restored] = {}
        self.size = 0

    def add(self, entry: _Entry | _Restored) -> None:
        entries, request = self.entries, entry.request
        if (before := entries.pop(request, None)) is not None:
            self.size -= before.size
        entries[request] = entry
        self.size += entry.size
        while len(entries) > 1 and (len(entries) > MAX_EXAMPLES or self.size > MAX_EXAMPLE_BYTES):
            self.size -= entries.pop(next(iter(entries))).size


class Recorder:
    """The newest calls of each endpoint, one per request, in a bounded queue; thread-safe.

    Recording takes a few dictionary operations; JSON text is parsed only by `examples`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._running: dict[Stream[Any], Endpoint[..., Any]] = {}
        self._numbers = count()
        self._lock = threading.Condition()  # notified when a running stream has been recorded

    @property
    def running(self) -> list[Stream[Any]]:
        """The streams that will be recorded when they end."""
        with self._lock:
            return list(self._running)

    def add(self, endpoint: Endpoint[..., Any], call: Call, result: Any, body: bytes) -> None:
        """Record a successful call; if it returned a stream, when the stream ends.

        `body` is the answer as JSON text, or empty. Calls without a JSON form are not recorded, nor
        are streams that failed or dropped chunks.
        """
        if isinstance(result, Stream):
            with self._lock:
                self._running[result] = endpoint
            result.on_end(lambda stream: self._add_stream(endpoint, call, stream))
            return
        if not body:
            try:
                body = codec.dumps(result)
            except TypeError:
                return
        self._add(endpoint, call, body)

    def _add_stream(self, endpoint: Endpoint[..., Any], call: Call, stream: Stream[Any]) -> None:
        try:
            if stream.state == "done" and stream.count == len(stream.kept):
                self._add(endpoint, call, codec.dumps(stream.kept))
        except TypeError:
            return
        finally:
            with self._lock:
                self._running.pop(stream, None)
                self._lock.notify_all()

    def _add(self, endpoint: Endpoint[..., Any], call: Call, answer: bytes) -> None:
        call.freeze()
        if not call.body or call.span is None:
            return
        record = call.span.record
        stores = _versions(record)
        try:
            path_params = codec.dumps(call.path_params) if call.path_params else b"{}"
        except TypeError:
            return
        kinds = frozenset(span.kind for _, span in call.span.walk())
        facts = (call.body, path_params, answer, record, stores, kinds, call.span.duration)
        with self._lock:
            self._keep(_Entry(next(self._numbers), endpoint, *facts))

    def restore(
        self, endpoint: Endpoint[..., Any], line: str, example: Callable[[], Example]
    ) -> None:
        """Add a call of an earlier session from its line; `example` creates it on demand."""
        found = Example.from_json(line)
        request = codec.dumps(found.payload), codec.dumps(found.path_params)
        with self._lock:
            self._keep(_Restored(next(self._numbers), endpoint, request, len(line), example))

    def _keep(self, entry: _Entry | _Restored) -> None:
        key = (entry.endpoint.method, entry.endpoint.path)
        if (kept := self._kept.get(key)) is None:
            kept = self._kept[key] = _Kept()
        kept.add(entry)

    def proof(self, endpoint: Endpoint[..., Any]) -> Proof:
        """Return whether `endpoint` has a recorded call, or a stream still to be recorded."""
        with self._lock:
            kept = self._kept.get((endpoint.method, endpoint.path))
            if kept and any(each.endpoint is endpoint for each in kept.entries.values()):
                return "ready"
            return "running" if endpoint in self._running.values() else "missing"

    def _settled(self) -> bool:
        return not any(stream.finished for stream in self._running)

    def forget(self, method: str, path: str) -> None:
        """Drop the calls of a replaced endpoint."""
        with self._lock:
            self._kept.pop((method, path), None)

    def examples(self, endpoints: Sequence[Endpoint[..., Any]]) -> list[Example]:
        """Return the calls of these endpoints, one per request, newest last."""
        with self._lock:  # a stream's thread records it shortly after its end
            self._lock.wait_for(self._settled, _SETTLE_SECONDS)
            entries = [entry for kept in self._kept.values() for entry in kept.entries.values()]
        entries = [entry for entry in entries if entry.endpoint in endpoints]
        entries.sort(key=lambda entry: entry.number)
        examples: dict[tuple[str, str, str], Example] = {}
        for entry in entries:
            example = entry.example()
            examples.pop(example.request, None)
            examples[example.request] = example
        return list(examples.values())


def _versions(record: CallRecord) -> list[tuple[Any, int]]:
    """Return each store that the call used, with its current version."""
    if not record.read and not record.written:
        return []
    return [(store, store.version) for store in {**record.read, **record.written}.values()]
