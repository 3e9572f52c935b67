"""The key goes to the app's address and nowhere else: no repr, error, trace, view or redirect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App, connect, record
from conduit_lab.core.errors import ConduitError, InputError, RemoteError
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.client.conftest import SECONDS, Connect, Desk

KEY = "sk-0123456789abcdef"


def test_every_request_has_the_key_and_no_other_place(desk: Desk, server: Server) -> None:
    seen: list[str | None] = []

    @desk.app.post("/key")
    def key(request: Any) -> None:
        seen.append(request.headers.get("authorization"))

    @desk.app.ml_stream("/keys")
    def keys(request: Any) -> Iterator[int]:
        seen.append(request.headers.get("authorization"))
        yield 1

    with connect(server.url, key=KEY) as remote, record("calls") as trace:
        remote.key()
        assert remote.keys().result(SECONDS) == [1]
        assert seen == [f"Bearer {KEY}"] * 2
        objects: list[Any] = [
            remote,
            remote.endpoints,
            remote.stores,
            remote.key,
            remote.stores["notes"],
        ]
        objects += [remote._connection, remote._connection._open(), trace, *trace]
        for each in objects:
            shown = [repr(each), str(each), str(getattr(each, "__dict__", ""))]
            shown += [str(each._repr_mimebundle_())] if hasattr(each, "_repr_mimebundle_") else []
            assert KEY not in "".join(shown), type(each)
        for name, args in (("broken", ()), ("append", ("x",)), ("append", ())):
            with pytest.raises(ConduitError) as caught:
                remote.endpoints[name](*args)
            error: BaseException | None = caught.value
            while error is not None:
                assert KEY not in f"{error!r}{error}{vars(error)}"
                error = error.__cause__ or error.__context__


@pytest.mark.parametrize("key", ["", "a b\nc", "schlüssel", "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InputError, match="key expects printable ASCII text") as caught:
        connect("http://127.0.0.1:9", key=key)
    assert not key or key not in str(caught.value)


def test_a_redirect_is_not_followed(connecting: Connect) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("location", f"http://localhost:{self.server.server_port}/stolen")  # type: ignore[attr-defined]
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        answering = threading.Thread(target=server.serve_forever, args=(0.01,))
        answering.start()
        try:
            with pytest.raises(RemoteError, match=r"\[307\]"):
                connecting(f"http://127.0.0.1:{server.server_port}", key=KEY)
        finally:
            server.shutdown()
            answering.join(SECONDS)
    assert asked == ["/openapi.json"]


def test_an_app_with_keys_answers_to_the_right_one(tmp_path: Path, connecting: Connect) -> None:
    secret, key = new_key("notebook")
    app = App("desk", root=tmp_path, keys=[key], protocols=["stores"])
    app.get("/one")(_one)
    with Server(app, port=0) as server:
        assert connecting(server.url, key=secret).endpoints["/one"]() == 1
        for wrong in (None, "clk_wrong"):
            with pytest.raises(RemoteError, match=r"key.*\[401\]") as caught:
                connecting(server.url, key=wrong)
            assert (caught.value.status, caught.value.kind) == (401, "unauthorized")


def _one() -> int:
    return 1
