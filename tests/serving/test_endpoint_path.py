"""An invalid path is rejected on registration and never harms a running server; row 82."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from conduit_lab import App, Lab, Rag, VectorStore
from conduit_lab.core.errors import EndpointError, ModelLoadError, ServeError
from conduit_lab.serving.endpoint_path import PROTOCOL_PATHS, RESERVED_PATHS, check_path
from conduit_lab.serving.faces.passage_links import citation_url
from conduit_lab.serving.faces.protocols import PROTOCOLS, protocol_routes
from conduit_lab.serving.request import Request
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask
from tests.serving.faces.language.desks import PASSAGE, Quoter

SECONDS = 30.0
WRONG = {
    "/x/{id:foo}": "unknown path parameter type 'foo'; there are str, path, int",
    "/x/{id:itn}": "Did you mean 'int'",
    "/x/{id}/{id}": "has the parameter 'id' twice",
    "/x/{id:int": "unbalanced brace",
    "/x/id}": "unbalanced brace",
    "/x/{}": "expects a name",
    "/x/{a-b}": "expects a name",
    "/x/{id:}": "unknown path parameter type ''",
    "/x/{idd}": "has no parameter 'idd'",
    "x": "must start with '/'",
    "": "must start with '/'",
}


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_path_is_refused_and_the_server_goes_on(lab: Lab, path: str) -> None:
    lab.get("/ok")(lambda: 1)

    def broken(id: int = 1) -> int:
        return id

    with lab.serve(port=0) as server, httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        with pytest.raises(EndpointError, match=WRONG[path]):
            lab.get(path)(broken)
        assert client.get("/ok").json() == 1
        assert client.get("/healthz").status_code == 200
    assert [each.path for each in lab.endpoints] == ["/ok"]


@pytest.mark.parametrize("path", RESERVED_PATHS)
def test_a_path_of_the_server_is_refused(app: App, path: str) -> None:
    for register in (app.get(path), app.post(path), app.ml_pipeline(path)):
        with pytest.raises(EndpointError, match=f"{path} is reserved by the server"):
            register(lambda: 1)
    assert not app.endpoints


def test_a_right_path_is_taken(app: App) -> None:
    @app.get("/a/{name}/{size:float}/{rest:path}")
    def parts(name: str, size: float, rest: str) -> Any:
        return name, size, rest

    @app.get("/b/{name}")
    def of_request(request: Request) -> Any:
        return request.path_params

    assert len(app.endpoints) == 2


def test_a_wrong_model_path_is_refused_and_the_server_goes_on(lab: Lab) -> None:
    lab.get("/ok")(lambda: 1)
    with lab.serve(port=0) as server, httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        with pytest.raises(ModelLoadError, match=r"none\.onnx"):
            lab.ml_endpoint("/predict", model="none.onnx")
        assert client.get("/ok").json() == 1
        assert client.post("/predict", json=1).status_code == 404


# Paths of protocols


TAKEN = {
    name: [path.rstrip("/") + "/{x}" * path.endswith("/") for path in paths]
    for name, paths in PROTOCOL_PATHS.items()
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_path_of_a_spoken_protocol_is_refused(tmp_path: Path, protocol: str) -> None:
    app = App("desk", root=tmp_path, protocols=[protocol])
    other = App("other", root=tmp_path)
    for path in TAKEN[protocol]:
        for register in (app.get(path), app.post(path), app.ml_stream(path)):
            with pytest.raises(EndpointError, match=f"{path} of mine.*the protocol '{protocol}'"):
                register(mine)
        other.post(path)(mine)
    assert not app.endpoints


def mine(request: Request) -> str:
    return "mine"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_list_has_every_path_of_a_protocol(tmp_path: Path, protocol: str) -> None:
    app = App("desk", root=tmp_path, protocols=[protocol])
    app.ml_stream("/write")(mine)
    app.ml_stream("/v1/{x}")(mine)
    paths = [route.path for route in protocol_routes(app) if isinstance(route, Route)]
    assert paths
    app.protocols = ()
    for path in paths:
        endpoint = App("other", root=tmp_path).post(path)(mine)
        endpoint.app.protocols = [protocol]
        with pytest.raises(EndpointError, match=protocol):
            check_path(endpoint)


def test_a_protocol_that_comes_later_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App("desk", root=tmp_path)
    app.post("/mcp")(mine)
    app.tool("help")(lambda: "help")  # the app speaks MCP from now on
    with pytest.raises(ServeError):
        Server(app, port=0)
    assert "/mcp of mine() is reserved by the protocol 'mcp'" in capsys.readouterr().err


def test_a_pattern_hides_neither_a_protocol_nor_a_path_of_the_server(
    tmp_path: Path, asking: Ask
) -> None:
    app = App("desk", root=tmp_path, protocols=["inference", "stores", "openai"])
    app.get("/{rest:path}")(mine)
    app.post("/{rest:path}")(mine)
    app.get("/v2/{a}/{b}")(mine)
    client = asking(app)
    assert client.get("/v2/health/ready").json() != "mine"
    assert client.get("/v2/models/x").json() != "mine"
    assert client.get("/v1/models/x").json() != "mine"
    assert client.post("/v1/stores/x/search", json={"query": "a"}).json() != "mine"
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/v1/elsewhere").json() == "mine"
    assert client.post("/v2/elsewhere", json=1).json() == "mine"


def test_a_page_of_a_cited_passage_is_not_hidden(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path)
    app.get("/{a}/{b}")(mine)
    with VectorStore(2) as store:
        store.add("a", [1, 0], {}, PASSAGE)
        app.rag("/ask", Rag(store, Quoter(), mode="lexical"))
        url = citation_url("", {"text": PASSAGE}).partition("#")[0]
        assert "refund takes" in asking(app).get(url).text
        with pytest.raises(EndpointError, match="passages cited by a Rag"):
            app.get("/sources/{x}")(mine)
