"""One app and one server per module; every test leaves the server well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.serving.run.thread import Server
from tests.serving.faults.raw import is_well


class Desk(App):
    """An app whose endpoints note that they ran."""

    def __init__(self, root: Any, **options: Any) -> None:
        super().__init__("desk", root=root, **options)
        self.ran: list[str] = []
        self.post("/echo")(self._echo)
        self.post("/typed")(self._typed)
        self.post("/reset")(self._reset)
        self.post("/now")(self._now)
        self.post("/now/{zone}")(self._in_zone)
        self.get("/read")(self._read)
        self.ml_stream("/write")(self._write)

    def _echo(self, value: Any) -> Any:
        return value

    def _typed(self, text: str, count: int = 1) -> str:
        return text * count

    def _reset(self, sure: bool = False) -> str:
        self.ran.append(f"reset {sure}")
        return "done"

    def _now(self) -> str:
        self.ran.append("now")
        return "noon"

    def _in_zone(self, zone: str) -> str:
        self.ran.append(zone)
        return "noon"

    def _read(self, name: str = "all") -> str:
        self.ran.append("read")
        return name

    def _write(self, prompt: str = "") -> Iterator[str]:
        self.ran.append("write")
        yield prompt


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Server]:
    with Server(desk, port=0) as server:
        yield server


@pytest.fixture
def server(running: Server, desk: Desk) -> Iterator[Server]:
    """The module's server, which is well before and after each test."""
    desk.ran.clear()
    yield running
    assert is_well(running)
