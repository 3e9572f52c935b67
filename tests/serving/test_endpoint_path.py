"""A wrong path is refused where it is registered, and never harms a running server; row 82."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import EndpointError, ModelLoadError
from conduit_lab.serving.endpoint_path import RESERVED_PATHS
from conduit_lab.serving.request import Request

SECONDS = 30.0
WRONG = {
    "/x/{id:foo}": "no type 'foo' of a path's parameter; there are str, path, int",
    "/x/{id:itn}": "Did you mean 'int'",
    "/x/{id}/{id}": "has the parameter 'id' twice",
    "/x/{id:int": "a brace without its other half",
    "/x/id}": "a brace without its other half",
    "/x/{}": "expects a name",
    "/x/{a-b}": "expects a name",
    "/x/{id:}": "no type ''",
    "/x/{idd}": "has no parameter 'idd'",
    "x": "expects a '/' first",
    "": "expects a '/' first",
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
        with pytest.raises(EndpointError, match=f"{path} is the server's own path"):
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
