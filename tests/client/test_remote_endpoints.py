"""The endpoints of a served app as callables: signatures, arguments, answers."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from IPython.core.completer import Completer
from IPython.core.oinspect import Inspector

from conduit_lab import File, Prediction, RemoteApp, Sequential, record
from conduit_lab.core.errors import InputError, UnknownName
from conduit_lab.serving.run.thread import Server
from tests.client.conftest import Connect, Desk


def shown(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    """Return name, type and default of each parameter; `Any` is no type."""
    return [
        (p.name, Any if p.annotation is p.empty else p.annotation, p.default)
        for p in signature.parameters.values()
    ]


@pytest.mark.parametrize("name", ["analyze", "add", "append", "echo", "count", "broken", "typed"])
def test_a_remote_endpoint_has_the_signature_and_docstring_of_the_local_one(
    desk: Desk, remote: RemoteApp, name: str
) -> None:
    local, here = desk.app.endpoints[name], remote.endpoints[name]
    expected = inspect.signature(local.function, eval_str=True)
    if name == "typed":  # a range is no part of the type
        scale = expected.parameters["scale"].replace(annotation=float)
        rest = [scale if p.name == "scale" else p for p in expected.parameters.values()]
        expected = expected.replace(parameters=rest)
    assert shown(inspect.signature(here)) == shown(expected)
    assert here.__name__ == name
    assert inspect.getdoc(here) == inspect.getdoc(local)
    assert (here.method, here.path, here.shape) == (local.method, local.path, local.shape)


def test_attributes_names_and_paths_find_the_same_endpoint(remote: RemoteApp) -> None:
    assert remote.analyze is remote.endpoints["/analyze"] is remote.endpoints["analyze"]
    assert {"analyze", "count", "stores", "endpoints"} <= set(dir(remote))
    with pytest.raises(UnknownName, match="Did you mean '/analyze'"):
        remote.endpoints["/analyse"]
    with pytest.raises(AttributeError, match=r"no endpoint 'analyse'.*Did you mean 'analyze'"):
        _ = remote.analyse


def test_question_mark_and_completion_work_in_ipython(remote: RemoteApp) -> None:
    found = Inspector(theme_name="nocolor").info(remote.analyze, oname="analyze")
    assert found["definition"] == "analyze(input_data)"
    assert found["docstring"].startswith("Analyze a text.")
    completer = Completer(namespace={"remote": remote}, global_namespace={})
    assert "remote.analyze" in completer.attr_matches("remote.an")
    assert remote.endpoints._ipython_key_completions_()[0] == "/analyze"


@pytest.mark.parametrize(
    "call",
    [
        lambda app: app.endpoints["/analyze"]({"text": "hello"}),
        lambda app: app.endpoints["/analyze"](input_data={"text": ""}),
        lambda app: app.endpoints["/typed/{kind}"](1, "a b&c", tags=["x", "y"]),
        lambda app: app.endpoints["/typed/{kind}"](n=2, kind="é?", scale=2.5, mode="exact"),
        lambda app: app.endpoints["/order"]({"item": "kettle", "count": 2}),
        lambda app: app.endpoints["/add/{a}"](3),
        lambda app: app.endpoints["/add/{a}"](3, b=-5),
        lambda app: app.endpoints["/echo"]([1, [2.5, None], {"a": "\U0001f600"}]),
        lambda app: app.endpoints["/echo"](2**70),
        lambda app: app.endpoints["/echo"](None),
        lambda app: app.endpoints["/many"]([1, 2, 3], names={"a": 1}),
        lambda app: app.endpoints["/file"](File("a.txt", "text/plain", b"\x00\xff"), n=2),
        lambda app: app.endpoints["/echo"]("\x00\u2028 text"),
    ],
)
def test_a_call_answers_as_the_local_one(
    desk: Desk, remote: RemoteApp, call: Callable[[Any], Any]
) -> None:
    assert call(remote) == call(desk.app)


def test_an_endpoint_that_takes_the_request_gets_the_value_as_its_body(remote: RemoteApp) -> None:
    assert [*inspect.signature(remote.asked).parameters] == ["request", "place"]
    assert remote.asked({"a": [1]}, place="x") == ["x", {"a": [1]}]


def test_arrays_and_iterators_are_sent_as_lists(remote: RemoteApp) -> None:
    sent = {"a": np.arange(3, dtype=np.float16), "b": (n for n in range(2)), "c": np.int64(4)}
    assert remote.echo(sent) == {"a": [0.0, 1.0, 2.0], "b": [0, 1], "c": 4}
    with pytest.raises(InputError, match="echo: an argument has"):
        remote.echo(object())


def test_predictions_and_hits_show_themselves(desk: Desk, remote: RemoteApp) -> None:
    mood = remote.analyze({"text": "a"})["mood"]
    assert type(mood) is Prediction
    assert repr(mood) == "Prediction('up', 0.750)"
    assert mood.probabilities == {"up": 0.75, "down": 0.25}
    hits = remote.echo(json.loads(json.dumps(desk.app.stores["notes"].search([1, 2, 3]))))
    assert hits == desk.app.stores["notes"].search([1, 2, 3])
    assert "5 hits" in repr(hits)
    assert hits[0].content == hits[0]["content"]


@pytest.mark.parametrize(
    "value",
    [
        {"label": 1, "score": 0.5, "probabilities": {}},
        {"label": "a", "score": True, "probabilities": {}},
        {"label": "a", "score": 1, "probabilities": {"a": "b"}},
        {"response": "a", "sources": [1]},
        {"id": 1, "score": 1.0, "content": None, "metadata": {}},
        [{"id": "a", "score": 1.0, "content": None, "metadata": {}}, 1],
        {"type": "image/png", "base64": "?"},
        {"type": "png", "base64": "AAAA"},
    ],
)
def test_look_alikes_stay_plain(remote: RemoteApp, value: Any) -> None:
    answer = remote.echo(value)
    assert answer == value
    assert type(answer) is type(value)


def test_wrong_arguments_are_found_before_a_request(desk: Desk, remote: RemoteApp) -> None:
    wrong: list[tuple[tuple[int, ...], dict[str, int]]] = [((), {}), ((1, 2), {}), ((), {"m": 1})]
    for args, kwargs in wrong:
        with pytest.raises(InputError, match=r"append expected \(n: int\)"):
            remote.append(*args, **kwargs)
    with pytest.raises(InputError, match=r"kind expects a part of a path, got '\.\.'"):
        remote.typed(1, "..")
    assert desk.calls == []


def test_the_card_lists_endpoints_and_stores(remote: RemoteApp, server: Server) -> None:
    text = remote._view().plain()
    assert text.startswith(f"Remote app 'desk' · ● {server.url} · conduit_lab ")
    assert "POST /analyze" in text
    assert "typed(n: int, kind: str, scale: float = 1.5, mode: Literal['fast', 'exact']" in text
    assert "notes" in text
    assert "Analyze a text." in remote.analyze._view().plain()
    assert "<table" in remote._repr_mimebundle_()["text/html"]


def test_a_remote_endpoint_is_a_stage(desk: Desk, remote: RemoteApp) -> None:
    pipeline = Sequential(
        lambda text: {"text": text}, remote.analyze, lambda answer: answer["mood"]
    )
    with record("call") as trace:
        assert pipeline("hello").label == "up"
    names = [span.name for span in trace]
    assert "analyze" in names
    assert remote.analyze.batch([{"text": "a"}, {"text": "bc"}])[1]["length"] == 2


def test_many_threads_share_one_app(remote: RemoteApp) -> None:
    wrong: list[Any] = []

    def ask(n: int) -> None:
        wrong.extend(
            k for k in range(20) if remote.add(n, b=k) != n + k or remote.echo([n, k]) != [n, k]
        )

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_a_new_endpoint_is_there_after_a_refresh(desk: Desk, remote: RemoteApp) -> None:
    desk.app.get("/late")(lambda: 1)  # a lambda's name is no attribute
    assert len(remote.endpoints) == len(desk.app.endpoints) - 1
    remote.refresh()
    assert remote.endpoints["/late"]() == 1


def test_a_closed_app_opens_again(remote: RemoteApp) -> None:
    remote.close()
    assert remote.add(1) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_connections_of_its_own(server: Server) -> None:
    code = f"""
import os
from conduit_lab import connect
remote = connect({server.url!r})
assert remote.add(1) == 3
opened = remote._connection._open()
child = os.fork()
if child == 0:
    mine = range(1000, 1100)  # an answer to the parent would not fit
    right = [remote.add(n) for n in mine] == [n + 2 for n in mine]
    os._exit(0 if right and remote._connection._open() is not opened else 1)
right = [remote.add(n) for n in range(100)] == [n + 2 for n in range(100)]
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and right
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_works_in_a_script_without_ipython(server: Server, connecting: Connect) -> None:
    code = f"""
import sys
from conduit_lab import connect
with connect({server.url!r}) as remote:
    print(remote.add(1), [chunk["n"] for chunk in remote.count(2)], len(remote.stores["notes"]))
heavy = ("IPython", "onnxruntime", "onnx", "starlette", "uvicorn", "pandas")
print([name for name in heavy if name in sys.modules])
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["3 [0, 1] 10", "[]"]
    assert done.stderr == ""
