"""`Lab("demo")` again in a session returns the lab of that name."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from conduit_lab import Lab
from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.limits import Limits


class Shell:
    """IPython's shell, as far as a lab needs it."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a session shows; the test runs in one."""
    lines: list[str] = []
    publisher = SimpleNamespace(publish=lambda data: lines.append(data["text/plain"]))
    shell = Shell(
        user_ns={},
        display_pub=publisher,
        events=SimpleNamespace(register=lambda *_: None),
        history_manager=SimpleNamespace(input_hist_parsed=[""], input_hist_raw=[""]),
        register_magic_function=lambda *_, **__: None,
        set_hook=lambda *_, **__: None,
        custom_exceptions=(Exception,),
    )
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    return lines


def register(lab: Lab, factor: int) -> Any:
    @lab.post("/a")
    def a(n: int) -> int:
        return factor * n

    return a


def test_endpoints_stores_models_and_calls_stay(tmp_path: Path, said: list[str]) -> None:
    first = Lab("demo", root=tmp_path)
    a = register(first, 1)
    a(1)
    first.vector_store("docs", dimension=2)
    first.load_model(len)
    again = Lab("demo", root=tmp_path)
    assert said == [
        "Lab 'demo' still has 1 endpoint, 1 model and 1 store; lab.remove(path) removes an endpoint"
    ]
    assert again.endpoints == [a]
    assert a.app is again
    assert [example.answer for example in again.examples] == [1]
    assert again.vector_store("docs") is first.stores["docs"]
    assert again.models["len"] is first.models["len"]
    again.stores["docs"].close()


def test_a_cell_that_runs_again_replaces_its_endpoint_and_keeps_its_traces(
    tmp_path: Path, said: list[str]
) -> None:
    register(Lab("demo", root=tmp_path), 1)(1)
    again = Lab("demo", root=tmp_path)
    a = register(again, 2)
    assert again.endpoints == [a]
    assert len(a.history) == 1
    a(2)
    assert [example.answer for example in again.examples] == [4]


def test_a_running_server_serves_what_is_registered_later(tmp_path: Path, said: list[str]) -> None:
    with TestClient(Lab("demo", root=tmp_path)) as client:
        register(Lab("demo", root=tmp_path), 3)
        assert client.post("/a", json={"n": 2}).json() == 6
    assert said == []  # there was nothing to go on with


def test_its_limits_are_those_of_the_new_call(tmp_path: Path, said: list[str]) -> None:
    lab = Lab("demo", root=tmp_path, limits=Limits(body_bytes=10, deadline=2))
    assert Lab("demo", root=tmp_path, limits=Limits(deadline=3)) is lab
    assert lab.limits == Limits(deadline=3)
    with pytest.raises(EndpointError, match="deadline="):
        Lab("demo", root=tmp_path, limits=Limits(deadline=-1))


def test_another_name_root_or_class_is_another_lab(tmp_path: Path, said: list[str]) -> None:
    class Desk(Lab):
        pass

    labs = {Lab("demo", root=tmp_path), Lab("other", root=tmp_path), Lab("demo", root="/")}
    assert len(labs | {Desk("demo", root=tmp_path)}) == 4


def test_a_lab_that_nothing_holds_is_gone(tmp_path: Path, said: list[str]) -> None:
    register(Lab("demo", root=tmp_path), 1)
    gc.collect()
    assert Lab("demo", root=tmp_path).endpoints == []


def test_a_script_gets_a_new_one(tmp_path: Path) -> None:
    first = Lab("demo", root=tmp_path)
    register(first, 1)
    assert Lab("demo", root=tmp_path).endpoints == []
