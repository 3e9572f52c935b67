"""An app that asks another served app: the export connects again, and holds no key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conduit_lab import App
from conduit_lab.core.errors import ExportError
from conduit_lab.export.source_layout import formatted
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.export.session import Session

KEY = "0123456789-desk"
ENDPOINT = """
@lab.post("/ask")
def ask(n: int):
    return {"answer": remote.double(n)}
"""


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DESK_ACCESS", KEY)
    app = App("far", root=tmp_path_factory.mktemp("far"))

    @app.post("/double")
    def double(n: int) -> int:
        return 2 * n

    with Server(app, port=0) as server:
        yield server.url


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("replay", [False, True])
def test_the_key_becomes_a_read_of_the_environment(
    session: Session, url: str, replay: bool
) -> None:
    session.run(
        "import os\nfrom conduit_lab import connect",
        f"remote = connect({url!r}, key=os.environ['DESK_ACCESS'], timeout=20)",
        ENDPOINT,
        "ask(4)",
    )
    export = session.export(replay=replay)
    source = (export.folder / "app.py").read_text("utf-8")
    line = f'remote = connect("{url}", key=os.environ["DESK_ACCESS"], timeout=20, lazy=True)'
    assert formatted(line) in source
    assert re.search(r"^httpx==", (export.folder / "requirements.txt").read_text("utf-8"), re.M)
    assert KEY.encode() not in files(export.folder)
    session.names["remote"].close()


def test_without_a_key_there_is_none_to_read(session: Session, url: str) -> None:
    session.run("import conduit_lab", f"remote = conduit_lab.connect({url!r})", ENDPOINT, "ask(4)")
    assert f'remote = connect("{url}", lazy=True)' in session.source()
    session.names["remote"].close()


@pytest.mark.parametrize(
    "cells",
    [
        [f"remote = connect(URL, key={KEY!r})"],
        [f"k = {KEY!r}", "remote = connect(URL, key=k)"],
        ["k = os.environ['DESK_ACCESS']", "remote = connect(URL, key=k)"],
        ["remote = connect(URL, key='' + os.environ['DESK_ACCESS'])"],
        ["made = [connect(URL, key=os.environ['DESK_ACCESS'])]", "remote = made[0]"],
    ],
)
def test_any_other_key_is_refused_and_written_nowhere(
    session: Session, url: str, cells: list[str]
) -> None:
    session.run("import os\nfrom conduit_lab import connect", f"URL = {url!r}", *cells)
    session.run(ENDPOINT, "ask(4)")
    with pytest.raises(ExportError, match="which an export does not hold") as caught:
        session.export()
    assert KEY not in str(caught.value)
    assert 'remote = connect(url, key=os.environ["…"])' in str(caught.value)
    assert not (session.root / "out").exists()
    assert os.environ["DESK_ACCESS"] == KEY
    session.names["remote"].close()


def test_a_part_of_a_connected_app_is_refused(session: Session, url: str) -> None:
    session.run(
        f"from conduit_lab import connect\nremote = connect({url!r})\ndouble = remote.double",
        '@lab.post("/ask")\ndef ask(n: int):\n    return double(n)',
        "ask(4)",
    )
    with pytest.raises(ExportError, match="double belongs to a connected app"):
        session.export()
    session.names["remote"].close()


def test_a_lazy_app_asks_nothing_before_its_first_use(url: str) -> None:
    from conduit_lab import connect

    nobody = connect("http://127.0.0.1:9", lazy=True)
    assert repr(nobody) == "<RemoteApp '' · http://127.0.0.1:9 · not read yet>"
    assert "endpoints" in dir(nobody)
    with connect(url, lazy=True) as remote:
        assert remote.double(3) == 6
        assert remote.name == "far"


def test_the_key_of_an_app_is_a_secret_under_any_name(session: Session) -> None:
    secret, _ = new_key("notebook")
    session.run(f"k = {secret!r}", '@lab.post("/ask")\ndef ask(n: int):\n    return len(k) + n')
    session.run("ask(4)")
    with pytest.raises(ExportError, match="k looks like a secret"):
        session.export()
