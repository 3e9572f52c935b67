"""Connection: requests to one served app, with its key, over persistent connections.

At most two retries are made: for every request that was never sent, and for a `repeatable` one also
if its connection was lost, a full server rejected it with a `retry-after` of a few seconds, or a
proxy answered 502. Any other response, and a timeout, are final.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from conduit_lab.client.answer_errors import answer_error
from conduit_lab.client.request_body import JSON_CONTENT_TYPE, RequestBody
from conduit_lab.core.errors import (
    InputError,
    MissingExtra,
    RemoteDeadlineExceeded,
    RemoteError,
    RemoteUnreachable,
)
from conduit_lab.core.npy import NPY_TYPE, array_of_npy
from conduit_lab.core.text import first_line
from conduit_lab.core.version import __version__
from conduit_lab.serving import codec

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
SILENT_SECONDS = (
    60.0  # without data before a stream, which sends a comment every 15 s, counts as lost
)
MAX_TRIES = 3
MAX_RETRY_SECONDS = 5.0  # longest `retry-after` to wait for

_KEPT_SECONDS = 4.0  # below uvicorn's keep-alive timeout of 5 s
_PAUSE_SECONDS = 0.2  # before the second try, doubled for each further one


class Connection:
    """The address of a served app and the key for it; thread-safe.

    The key appears in no repr or error. `timeout` is in seconds until a response starts.
    """

    def __init__(self, url: str, key: str | None, timeout: float | None) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtra("httpx", "client", "connect()") from None
        self.url = checked_url(url)
        self.timeout = timeout
        self._httpx = httpx
        # httpx.Headers hides the key in its repr
        self._headers = httpx.Headers(
            {"user-agent": f"conduit-lab/{__version__}", "accept-encoding": "identity"}
        )
        self.has_key = key is not None
        if key is not None:
            if not key or not key.isascii() or not key.isprintable():
                raise InputError("key expects printable ASCII text, got other characters or none")
            self._headers["authorization"] = f"Bearer {key}"
        self.lost = httpx.TransportError
        self._tls = httpx.create_ssl_context() if self.url.startswith("https:") else True
        self._lock = threading.Lock()
        self._process = 0
        self._client: httpx.Client | None = None
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
        self._by_loop = weakref.WeakKeyDictionary()
        weakref.finalize(self, _close_all, kept := _Kept(), self._by_loop)
        self._kept = kept

    def __repr__(self) -> str:
        return f"<Connection {self.url}>"

    def close(self) -> None:
        """Close the open connections; a later request opens new ones."""
        _close_all(self._kept, self._by_loop)
        self._client = None

    # Whole answers

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: RequestBody | None = None,
        repeatable: bool = False,
        accept: str = JSON_CONTENT_TYPE,
    ) -> Any:
        """Send a request and return its decoded response; raises `RemoteError`."""
        what = f"{method} {path}"
        tries = 0
        while True:
            tries += 1
            last = tries >= MAX_TRIES
            try:
                response = self._send(method, path, query, body, accept)
            except self.lost as error:
                unsent = self.was_never_sent(error)
                if isinstance(error, self._httpx.TimeoutException) and not unsent:
                    raise RemoteDeadlineExceeded(
                        f"{what}: no answer from {self.url} in {self.timeout:g} s: "
                        "connect(url, timeout=…) sets the seconds, None waits forever"
                    ) from None
                if last or not (repeatable or unsent):
                    raise self.unreachable(what, error) from None
            else:
                wait = _retry_after(response) if repeatable and not last else None
                if wait is None:
                    return self._value(response, what)
                sleep(wait)
                continue
            sleep(_PAUSE_SECONDS * 2 ** (tries - 1))

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: RequestBody | None,
        accept: str,
    ) -> httpx.Response:
        return self._open().request(
            method,
            self.url + path,
            params=query or None,
            content=None if body is None else body.content,
            headers={"accept": accept, **_content_type(method, body)},
        )

    def _value(self, response: httpx.Response, what: str) -> Any:
        if response.status_code != 200:
            raise answer_error(
                response.status_code,
                response.content,
                response.headers.get("x-request-id", ""),
                what,
            )
        kind = response.headers.get("content-type", "no type")
        is_array = kind.partition(";")[0].strip() == NPY_TYPE
        try:
            return (array_of_npy if is_array else codec.loads)(response.content)
        except InputError:
            asked = "a whole .npy file" if is_array else "a JSON answer"
            got = "other bytes" if is_array else kind[:100]
            raise RemoteError(
                f"{what} expected {asked} from {self.url}, got {got}: "
                "is this the address of a conduit_lab app?",
                status=200,
            ) from None

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._client is None or self._process != os.getpid():
                # a forked child would share the parent's open connections
                self._process = os.getpid()
                self._client = self._kept.client = self._made(self._httpx.Client, self.timeout)
            return self._client

    # Streams

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any],
        body: RequestBody | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield its streaming response."""
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is None:
            client = self._by_loop[loop] = self._made(self._httpx.AsyncClient, SILENT_SECONDS)
        async with client.stream(
            method,
            self.url + path,
            params=query or None,
            content=None if body is None else body.content,
            headers={
                "accept": "text/event-stream",
                **_content_type(method, body),
                **headers,
            },
        ) as response:
            yield response

    def unreachable(self, what: str, error: Exception) -> RemoteUnreachable:
        """Return the error for a connection that failed or was lost."""
        return RemoteUnreachable(f"{what}: no whole answer from {self.url}: {first_line(error)}")

    def was_never_sent(self, error: Exception) -> bool:
        """Return whether no byte of the request was sent, so it cannot have had an effect."""
        kinds = self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.PoolTimeout
        return isinstance(error, kinds)

    def _made(self, kind: Callable[..., Any], seconds: float | None) -> Any:
        return kind(
            headers=self._headers,
            verify=self._tls,
            timeout=self._httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            limits=self._httpx.Limits(max_connections=None, keepalive_expiry=_KEPT_SECONDS),
            follow_redirects=False,  # would send the key to another address
        )


class _Kept:
    """The client to close with its connection."""

    client: httpx.Client | None = None


def _close_all(
    kept: _Kept, by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
) -> None:
    if kept.client is not None:
        kept.client.close()
    for loop, client in list(by_loop.items()):
        if not loop.is_closed():
            with suppress(RuntimeError):  # the loop is closing, and its connections with it
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)
    by_loop.clear()


def checked_url(url: str) -> str:
    """Validate an app's address and strip its trailing slash; else raise `InputError`."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
        plain = parts.username is None and not parts.query and not parts.fragment
        _ = parts.port
    except (ValueError, AttributeError, TypeError):
        fits = plain = False
    if not fits or not plain:
        # not quoted, since it may contain a password
        raise InputError(
            'connect() expects an address such as "https://desk.example.com", without a password '
            "and a query: pass a key as key="
        )
    return url.rstrip("/")


def _content_type(method: str, body: RequestBody | None) -> dict[str, str]:
    """Return the header of a body's type; the empty body of a POST is declared too."""
    if body is None:
        return {"content-type": JSON_CONTENT_TYPE} if method == "POST" else {}
    return {"content-type": body.content_type}


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds to wait before a retry, or None for no retry."""
    if response.status_code == 502:
        return _PAUSE_SECONDS
    text = response.headers.get("retry-after", "")
    if response.status_code not in (429, 503) or not (text.isascii() and text.isdigit()):
        return None
    seconds = float(text[:6])
    return seconds if seconds <= MAX_RETRY_SECONDS else None
