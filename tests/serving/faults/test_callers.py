"""Callers and pages of other sites: the rows 66 to 75 and 80 of the faults that an app survives."""

from __future__ import annotations

import ast
import hmac
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import conduit_lab
from conduit_lab import Lab
from conduit_lab.cli import main
from conduit_lab.core.errors import ExportError, ServeError
from conduit_lab.serving.gate.bind_rules import check_bind
from conduit_lab.serving.gate.keys import Keys, new_key
from conduit_lab.serving.run.thread import Server
from tests.export.session import Session
from tests.serving.faults.conftest import Desk
from tests.serving.faults.raw import HOST, JSON, Answer, ask, connect, plain_uvicorn, read_answer
from tests.serving.faults.raw import request as raw_request

EVIL = b"origin: https://evil.example\r\nsec-fetch-site: cross-site\r\n"
ROUTES = [
    ("POST", "/echo"),
    ("POST", "/typed"),
    ("GET", "/read"),
    ("GET", "/write"),
    ("HEAD", "/write"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/nothing"),
    ("POST", "/echo/"),
    ("OPTIONS", "/echo"),
]


@pytest.mark.parametrize(("method", "target"), ROUTES)
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "evil"]
)
def test_row_66_a_host_of_another_site_is_a_421_on_every_route(
    server: Server, desk: Desk, method: str, target: str, host: str
) -> None:
    headers = f"host: {host}\r\n".encode() + JSON
    answer = ask(server, raw_request(target, b"[1]", headers, method))
    assert answer.status == 421
    assert "location" not in answer.headers
    assert desk.ran == []


def test_row_66_plain_uvicorn_checks_it_too(desk: Desk) -> None:
    with plain_uvicorn(desk) as server:
        assert ask(server, raw_request(headers=b"host: evil.example\r\n" + JSON)).status == 421


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:80", "desk.localhost", "10.0.0.7"],
)
def test_row_66_own_names_and_addresses_pass(server: Server, host: str) -> None:
    answer = ask(server, raw_request(body=b"1", headers=f"host: {host}\r\n".encode() + JSON))
    assert answer.status == 200


def test_row_66_named_hosts_pass_and_others_do_not(tmp_path: Path) -> None:
    app = Desk(tmp_path, hosts=["App.example.org", "*.example.net"])
    statuses = {}
    with Server(app, port=0) as server:
        for host in ("app.example.org:443", "a.b.example.net", "example.net", "evil.example"):
            headers = f"host: {host}\r\n".encode() + JSON
            statuses[host] = ask(server, raw_request(body=b"1", headers=headers)).status
    assert list(statuses.values()) == [200, 200, 421, 421]


def has_cors(answer: Answer) -> bool:
    return any(name.startswith("access-control") for name in answer.headers)


CROSS_SITE = {
    "other origin": b"origin: https://evil.example\r\n",
    "other port": b"origin: http://localhost:9\r\n",
    "no origin at all": b"origin: null\r\n",
    "cross-site": b"sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n",
    "same-site": b"sec-fetch-site: same-site\r\nsec-fetch-dest: image\r\n",
    "frame": b"sec-fetch-site: cross-site\r\nsec-fetch-dest: iframe\r\n",
    "link": b"sec-fetch-site: cross-site\r\nsec-fetch-dest: document\r\n",
}


@pytest.mark.parametrize("name", CROSS_SITE)
@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_row_67_a_page_of_another_site_runs_nothing(
    server: Server, desk: Desk, name: str, method: str, target: str
) -> None:
    headers = HOST + JSON + CROSS_SITE[name]
    answer = ask(server, raw_request(target, b"[1]", headers, method))
    assert answer.status == 403
    assert not has_cors(answer)
    assert desk.ran == []


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"sec-fetch-site: none\r\nsec-fetch-mode: navigate\r\n",
        b"sec-fetch-site: same-origin\r\norigin: https://behind.a.proxy\r\n",
        b"origin: http://localhost\r\n",
    ],
)
def test_row_67_own_pages_typed_addresses_and_clients_are_answered(
    server: Server, headers: bytes
) -> None:
    answer = ask(server, raw_request("/read", headers=HOST + headers, method="GET"))
    assert (answer.status, answer.body) == (200, b'"all"')
    assert not has_cors(answer)


def preflight(server: Any, origin: str) -> Answer:
    headers = (
        f"origin: {origin}\r\naccess-control-request-method: POST\r\n"
        "access-control-request-headers: content-type,authorization\r\n"
    )
    return ask(server, raw_request("/echo", headers=HOST + headers.encode(), method="OPTIONS"))


def test_row_67_a_preflight_is_answered_for_listed_origins_only(tmp_path: Path) -> None:
    good, secret = "https://good.example", new_key("web")
    app = Desk(tmp_path, origins=[good], keys=[secret[1]])
    with Server(app, port=0) as server:
        answer = preflight(server, good)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == good
        assert answer.headers["access-control-allow-headers"] == "content-type,authorization"
        for other in ("https://evil.example", "null", "http://good.example", f"{good}.evil"):
            refused = preflight(server, other)
            assert refused.status == 403
            assert not has_cors(refused)
        headers = HOST + JSON + f"origin: {good}\r\nsec-fetch-site: cross-site\r\n".encode()
        refused = ask(server, raw_request(body=b"1", headers=headers))
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, good)
        headers += f"authorization: Bearer {secret[0]}\r\n".encode()
        answer = ask(server, raw_request(body=b"1", headers=headers))
        assert (answer.status, answer.headers["vary"]) == (200, "Origin")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("body", [b"", b'{"sure": true}'])
def test_row_68_a_type_that_needs_no_preflight_is_a_415(
    server: Server, desk: Desk, kind: str, body: bytes
) -> None:
    headers = HOST + f"content-type: {kind}\r\n".encode()
    for target in ("/reset", "/reset?sure=true", "/write", "/echo"):
        assert ask(server, raw_request(target, body, headers)).status == 415
    assert desk.ran == []


def test_row_68_a_body_without_a_type_is_a_415(server: Server, desk: Desk) -> None:
    assert ask(server, raw_request("/reset", b'{"sure": true}', HOST)).status == 415
    assert desk.ran == []


SECRET, KEY = new_key("ann")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = [new_key("first")[1], KEY, new_key("last")[1]]
    with Server(Desk(tmp_path_factory.mktemp("locked"), keys=keys), port=0) as server:
        yield server


WRONG = {
    "missing": b"",
    "empty": b"authorization: Bearer \r\n",
    "unknown": b"authorization: Bearer clk_unknown\r\n",
    "its hash": f"x-api-key: {KEY.hash}\r\n".encode(),
    "a prefix": f"x-api-key: {SECRET[:-1]}\r\n".encode(),
    "longer": f"api-key: {SECRET}x\r\n".encode(),
    "basic": b"authorization: Basic YTpi\r\n",
    "long": b"authorization: Bearer " + b"a" * 20_000 + b"\r\n",
    "in latin-1": b"x-api-key: \xe9\xff\r\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_row_69_a_wrong_key_is_a_401_before_the_body_is_read(locked: Server, name: str) -> None:
    headers = HOST + JSON + WRONG[name]
    for target in ("/echo", "/write", "/nothing", "/v1/usage"):
        answer = ask(locked, raw_request(target, headers=headers, length=9_000_000))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_row_69_a_key_of_a_megabyte_is_refused(locked: Server, monkeypatch: Any) -> None:
    headers = HOST + b"authorization: Bearer " + b"a" * 2**20 + b"\r\n"
    assert ask(locked, raw_request(headers=headers)).status == 431
    monkeypatch.setattr("hashlib.sha256", None)  # a long one is not even hashed
    assert Keys([KEY]).find(b"a" * 2**20) is None


@pytest.mark.parametrize(
    "header", ["authorization: Bearer", "Authorization: bearer", "x-api-key:", "API-Key:"]
)
def test_row_69_a_right_key_is_taken_in_each_header(locked: Server, header: str) -> None:
    headers = HOST + JSON + f"{header} {SECRET}\r\n".encode()
    answer = ask(locked, raw_request(body=b"[1]", headers=headers))
    assert (answer.status, answer.body) == (200, b"[1]")


REPEATED = [
    "authorization: Bearer {key}\r\nauthorization: Bearer {key}",
    "authorization: Bearer {other}\r\nAuthorization: Bearer {key}",
    "x-api-key: {key}\r\nX-Api-Key: {other}",
    "api-key: \r\napi-key: {key}",
]


@pytest.mark.parametrize("lines", REPEATED)
def test_row_69_a_repeated_key_is_a_400(locked: Server, lines: str) -> None:
    given = lines.format(key=SECRET, other="clk_other").encode() + b"\r\n"
    answer = ask(locked, raw_request(body=b"[1]", headers=HOST + JSON + given))
    assert answer.status == 400
    assert SECRET not in answer.body.decode()


def test_row_69_health_needs_no_key(locked: Server) -> None:
    for target in ("/healthz", "/readyz"):
        assert ask(locked, raw_request(target, headers=HOST, method="GET")).status == 200


def test_row_69_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def watched(a: Any, b: Any) -> bool:
        compared.append(len(a) == len(b) == 64)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    made = [new_key(f"key-{n}") for n in range(5)]
    keys = Keys(key for _, key in made)
    for secret in (made[0][0].encode(), made[4][0].encode(), b"unknown", b""):
        keys.find(secret)
        assert compared == [True] * 5
        compared.clear()


def test_row_69_a_key_reaches_neither_logs_nor_handlers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Desk(tmp_path, keys=[KEY])
    seen: list[dict[str, str]] = []

    @app.post("/fail")
    def fail(request: conduit_lab.Request) -> None:
        seen.append(dict(request.headers))
        raise RuntimeError(f"failed with {request.headers}")

    with caplog.at_level(logging.DEBUG), Server(app, port=0) as server:
        for header in ("authorization: Bearer", "x-api-key:", "api-key:"):
            headers = HOST + JSON + f"{header} {SECRET}\r\n".encode()
            assert ask(server, raw_request("/fail", b"1", headers)).status == 500
        wrong = HOST + JSON + b"authorization: Bearer clk_hunter2\r\n"
        assert "hunter2" not in ask(server, raw_request("/fail", b"1", wrong)).body.decode()
    assert len(seen) == 3
    assert "host" in seen[0]
    text = caplog.text + repr(seen) + repr(app) + repr(app.keys) + repr(KEY)
    assert SECRET not in text
    assert "hunter2" not in text


def test_row_70_others_reach_no_app_without_a_key(tmp_path: Path) -> None:
    app = Desk(tmp_path)
    for host in ("0.0.0.0", "::", "192.168.1.5", "desk.example.org", ""):
        with pytest.raises(ServeError, match=r"conduit-lab key NAME.*insecure=True"):
            Server(app, host=host, port=0)
        check_bind(app, host, insecure=True)
        check_bind(Desk(tmp_path, keys=[KEY]), host)
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_bind(app, host)


def test_row_70_the_command_refuses_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text("from conduit_lab import App\napp = App('bare', root='.')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "app", raising=False)
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "--insecure" in capsys.readouterr().err
    monkeypatch.delitem(__import__("sys").modules, "app", raising=False)


LOADERS = [
    ("POST", "/api/pull"),
    ("POST", "/api/create"),
    ("POST", "/api/blobs/sha256:0"),
    ("POST", "/v2/repository/models/x/load"),
    ("POST", "/v2/repository/index"),
    ("POST", "/models?url=http://evil.example/m.onnx"),
    ("PUT", "/models/x"),
    ("POST", "/v1/files"),
    ("POST", "/load_model"),
    ("POST", "/export"),
]


@pytest.mark.parametrize(("method", "target"), LOADERS)
def test_row_71_nothing_loads_or_uploads_a_model(server: Server, method: str, target: str) -> None:
    body = b'{"path": "/etc/passwd", "name": "x", "model": "x"}'
    assert ask(server, raw_request(target, body, method=method)).status in (404, 405)


PACKAGE = Path(conduit_lab.__file__).parent
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}


def test_row_72_nothing_unpickles() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        if not any(name in text for name in (*UNPICKLERS, "marshal")):
            continue
        for node in ast.walk(ast.parse(text)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                names = [] if ast.unparse(node.value) == "False" else ["pickle"]
            elif isinstance(node, ast.Attribute) and node.attr.startswith("load"):
                names = ["pickle"] if ast.unparse(node.value) == "marshal" else []
            if any(name.split(".")[0] in UNPICKLERS for name in names):
                found.append(path.name)
    assert found == []


def test_row_73_a_secret_of_the_session_stops_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_LAB_KEYS", KEY.line())
    session = Session(tmp_path)
    leaking = '@lab.post("/a")\ndef a(n: int): return api_key'
    session.run('api_key = "hunter2hunter2"', leaking, "a(1)")
    with pytest.raises(ExportError, match="api_key"):
        session.export()
    session.run('@lab.post("/a")\ndef a(n: int): return n', "a(1)")
    session.export(replay=True)  # which calls the app without the keys of the environment
    source = session.source()  # the keys of the lab are in its environment alone
    assert KEY.hash not in source
    assert "keys" not in source


@pytest.mark.parametrize(
    "name", ["../../out", "a/b", 'x"""\nimport os', "\x00", "</script>", "C:\\out", "{name}", "%s"]
)
def test_row_74_a_name_from_a_user_stays_inside_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    session = Session(root, name)
    session.run('@lab.post("/a")\ndef a(n: int): return n', "a(1)")
    folder = session.export().folder
    compile((folder / "app.py").read_text("utf-8"), "app.py", "exec")
    outside = [path for path in tmp_path.rglob("*") if root not in (path, *path.parents)]
    assert outside == []
    for wrong in ("../x", "a/b", "", ".", "x.y", "x\n"):
        with pytest.raises(conduit_lab.ConduitError, match="name expects"):
            session.lab.vector_store(wrong)


def test_row_75_html_of_a_model_or_a_file_is_text(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    lab = Lab(hostile, root=tmp_path)
    store = lab.vector_store("notes", dimension=2)
    store.add(hostile, [1, 0], {hostile: hostile}, hostile)

    @lab.post("/a")
    def a(value: Any) -> Any:
        return value

    a({hostile: hostile})
    shown: list[Any] = [lab, store, store.search([1, 0], top_k=1), a, a.trace, lab.examples]
    for each in shown:
        html = each._repr_mimebundle_()["text/html"]
        assert "<img" not in html
    store.close()


@pytest.mark.parametrize("headers", [EVIL, b"content-type: text/plain\r\n", EVIL + JSON])
@pytest.mark.parametrize("target", ["/reset", "/reset?sure=true"])
def test_row_80_an_empty_post_of_another_site_runs_nothing(
    server: Server, desk: Desk, headers: bytes, target: str
) -> None:
    assert ask(server, raw_request(target, b"", HOST + headers)).status in (403, 415)
    assert desk.ran == []


BROWSERS = [
    b"origin: http://127.0.0.1\r\nsec-fetch-site: same-origin\r\n",
    b"sec-fetch-site: none\r\n",
    b"sec-fetch-mode: navigate\r\n",
]
_SIMPLE_TYPES = (
    b"",
    b"text/plain",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x",
)


@pytest.mark.parametrize("browser", [b"", *BROWSERS])
@pytest.mark.parametrize("kind", _SIMPLE_TYPES)
def test_row_80_an_empty_post_that_needs_no_preflight_runs_nothing(
    server: Server, desk: Desk, kind: bytes, browser: bytes
) -> None:
    headers = HOST + browser + (b"content-type: " + kind + b"\r\n" if kind else b"")
    paths = ["/echo", "/typed", "/reset", "/reset?sure=true", "/write"]
    if kind or browser:
        paths += ["/now", "/now/utc"]
    for path in paths:
        answer = ask(server, raw_request(path, b"", headers))
        assert answer.status == 415, (path, answer.body)
        assert b"send JSON" in answer.body
    assert desk.ran == []


def test_row_80_a_declared_or_a_bare_empty_post_runs(server: Server, desk: Desk) -> None:
    for path, ran in (("/now", "now"), ("/now/utc", "utc"), ("/reset", "reset False")):
        for browser in BROWSERS:
            assert ask(server, raw_request(path, b"", HOST + browser + JSON)).status == 200
            assert desk.ran.pop() == ran
    for path, ran in (("/now", "now"), ("/now/utc", "utc")):
        assert ask(server, raw_request(path, b"", HOST)).status == 200  # curl -X POST
        assert desk.ran.pop() == ran
    hint = json.loads(ask(server, raw_request("/reset", b"", HOST)).body)["error"]["hint"]
    assert hint.startswith("curl -X POST -H 'content-type: application/json' -d '{}' ")
    assert ask(server, raw_request("/typed", b"", HOST + JSON)).status == 400
    assert desk.ran == []


def test_row_80_a_stream_is_not_started_by_another_site(server: Server, desk: Desk) -> None:
    with connect(server) as client:
        client.sendall(raw_request("/write?prompt=x", headers=HOST + EVIL, method="GET"))
        assert read_answer(client).status == 403
    assert desk.ran == []
