"""EndpointView: the kernel's half of the form of an endpoint; the page's half is `view.js`.

Protocol: the page receives the OpenAPI document of the endpoint, from which it builds the form:

    {"document": {...}, "code": "price", "is_async": false, "base": "http://127.0.0.1:8000"}

It sends a call and a stop, with the number of the call:

    {"run": 3, "call": {"path": {...}, "query": {...}, "body": ...}}     {"stop": 3}

and receives, with that number as `run`, the chunks of a stream and then a final message:

    {"run": 3, "chunks": [...]}
    {"run": 3, "value": ..., "milliseconds": 12.3, "trace": "<div>…"}
    {"run": 3, "html": "<div>…", ...}                   for an answer with its own view
    {"run": 3, "count": 40, "stopped": false, ...}      of a stream
    {"run": 3, "error": {"type": "InputError", "message": "…"}, ...}
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import orjson

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.text import clip
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.notebook.mount import sendable
from conduit_lab.serving import codec
from conduit_lab.serving.call_code import code_name
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.faces.openapi import openapi

MAX_SHOWN_CHUNKS = 5000  # of one stream; further chunks are only counted
MAX_FORM_ANSWER_BYTES = 2**20  # of a message to the page
DEFAULT_URL = "http://127.0.0.1:8000"  # in the code of a call, while the lab is not served

_MAX_MESSAGE_CHARACTERS = 2000
_running: Counter[int] = Counter()  # running form calls by endpoint ID
_lock = threading.Lock()  # guards _running

_Message = dict[str, Any]


def is_running(endpoint: Endpoint[..., Any]) -> bool:
    """Return whether a form of this endpoint is running a call."""
    return _running[id(endpoint)] > 0


class EndpointView:
    """Runs the calls of one form, each on its own thread; `send` takes one message."""

    def __init__(self, endpoint: Endpoint[..., Any], send: Callable[[_Message], object]) -> None:
        self.endpoint = endpoint
        self._send = send
        self._due = threading.Event()  # send the form again at the next flush
        self._due.set()
        self._calls: dict[int, _FormCall] = {}  # guarded by _lock
        self._lock = threading.Lock()

    def opened(self) -> None:
        """Send the form again, because a page has started to listen."""
        self._due.set()

    def receive(self, message: _Message) -> None:
        """Start or stop a call; on any thread."""
        if "run" in message:
            call = _FormCall(self.endpoint, int(message["run"]), message.get("call") or {})
            with self._lock:
                self._calls[call.number] = call
            call.start()
        with self._lock:
            stopped = self._calls.get(message.get("stop", -1))
        if stopped is not None:
            stopped.stop()

    def flush(self) -> None:
        """Send the form if a page is waiting for it, and the results since the last flush."""
        if self._due.is_set():
            self._due.clear()
            document = openapi(self.endpoint.app, [self.endpoint])
            servers = list(getattr(self.endpoint.app, "servers", ()))
            urls = [server.url for server in servers if server.running]
            self._send(
                {
                    "document": orjson.loads(codec.dumps(document)),
                    "code": code_name(self.endpoint),
                    "is_async": self.endpoint.is_async,
                    "base": urls[0] if urls else DEFAULT_URL,
                }
            )
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            ended = call.ended  # checked first: the rest is then sent
            for message in call.take():
                self._send(message)
            if ended:
                with self._lock:
                    self._calls.pop(call.number, None)

    def close(self) -> None:
        """Stop the calls, as nobody will see their answers."""
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            call.stop()


class _FormCall:
    """One call of a form, on a daemon thread; `take` returns its messages so far."""

    def __init__(self, endpoint: Endpoint[..., Any], number: int, asked: _Message) -> None:
        self.number = number
        self.ended = False
        self._endpoint = endpoint
        self._asked = asked
        self._stopped = threading.Event()
        self._stream: Stream[Any] | None = None
        self._chunks: list[Any] = []  # guarded by _lock, like _last
        self._last: _Message | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the call."""
        with _lock:
            _running[id(self._endpoint)] += 1
        threading.Thread(target=self._run, name="conduit_lab form", daemon=True).start()

    def stop(self) -> None:
        """Cancel the stream; a call that returns a value keeps running, but is not shown."""
        self._stopped.set()
        if self._stream is not None:
            self._stream.cancel()

    def take(self) -> list[_Message]:
        """Return the messages since the last take."""
        with self._lock:
            chunks, self._chunks = self._chunks, []
            last, self._last = self._last, None
        messages: list[_Message] = [{"run": self.number, "chunks": chunks}] if chunks else []
        return [*messages, last] if last is not None else messages

    def _run(self) -> None:
        begun = perf_counter()
        try:
            last = self._answer()
        except Exception as error:
            last = {"error": _as_json(error)}
        last |= {"run": self.number, "milliseconds": 1000 * (perf_counter() - begun)}
        trace = self._endpoint.trace
        if trace is not None:
            last["trace"] = sendable(trace._repr_mimebundle_()["text/html"])
        with self._lock:
            self._last = last
            self.ended = True
        with _lock:
            _running[id(self._endpoint)] -= 1
            if not is_running(self._endpoint):
                del _running[id(self._endpoint)]

    def _answer(self) -> _Message:
        result = self._call()
        if isinstance(result, Stream):
            return self._read(result)
        if self._stopped.is_set():
            return {"count": 0, "stopped": True}
        if isinstance(result, Viewed):
            return {"html": sendable(result._repr_mimebundle_()["text/html"])}
        text = codec.dumps(result)
        if len(text) > MAX_FORM_ANSWER_BYTES:
            return {"value": f"{codec.preview(result, 2000)} ({len(text):,} bytes of JSON)"}
        return {"value": orjson.loads(text)}

    def _call(self) -> Any:
        endpoint, asked = self._endpoint, self._asked
        signature, body = endpoint.signature, asked.get("body")
        named = {**asked.get("query", {}), **asked.get("path", {})}
        call: Any = endpoint
        if signature.request is not None:
            result = call(body)
        elif signature.whole is not None:
            result = call(**{signature.whole: body}, **named)
        else:
            result = call(**{**(body or {}), **named})
        if endpoint.is_async:  # on the package's loop: the notebook's own may be busy
            return asyncio.run_coroutine_threadsafe(_awaited(result), package_loop()).result()
        return result

    def _read(self, stream: Stream[Any]) -> _Message:
        self._stream = stream
        if self._stopped.is_set():
            stream.cancel()
        count = 0
        try:
            for chunk in stream:
                count += 1
                if count <= MAX_SHOWN_CHUNKS:
                    shown = orjson.loads(codec.dumps(chunk))
                    with self._lock:
                        self._chunks.append(shown)
        except ConduitError:
            if not self._stopped.is_set():
                raise
        return {"count": count, "stopped": self._stopped.is_set()}


async def _awaited(result: Any) -> Any:
    return await result


def _as_json(error: Exception) -> _Message:
    message = sendable(clip(str(error), _MAX_MESSAGE_CHARACTERS))
    return {"type": type(error).__name__, "message": message}
