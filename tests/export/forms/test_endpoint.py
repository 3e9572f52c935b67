"""Endpoints in an export: each once, with the models that its decorator names."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import Lab
from conduit_lab.core.errors import ExportError
from tests.export.session import Session, same


def test_an_endpoint_that_calls_another_brings_it(session: Session) -> None:
    session.run(
        "@lab.post('/b')\ndef b(n: int):\n    return n + 1",
        "@lab.post('/a')\ndef a(n: int):\n    return b(n) * 2",
        "a(2); b(1)",
    )
    assert same(session).count("@lab.post('/b')") == 1


def test_an_endpoint_keeps_its_place_before_the_one_that_it_calls(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(n: int):\n    return b(n) * 2",
        "@lab.post('/b')\ndef b(n: int):\n    return n + 1",
        "a(2); b(1)",
    )
    source = same(session)
    assert source.index("def a(") < source.index("def b(")  # `b` is looked up at the call
    assert source.count("def a(") == source.count("def b(") == 1


def test_one_function_at_two_paths_is_written_for_each(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(n):\n    return n",
        "a(1)",
        "@lab.post('/b')\ndef a(n):\n    return n",
        "a(1)",
    )
    source = same(session)
    assert source.count("@lab.post('/a')") == source.count("@lab.post('/b')") == 1


def test_an_endpoint_that_was_run_again_is_the_newest_one(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(n):\n    return 1",
        "a(0)",
        "@lab.post('/a')\ndef a(n):\n    return 2",
        "a(0)",
    )
    assert "return 1" not in same(session)


def test_a_second_name_of_an_endpoint_stays_one(session: Session) -> None:
    session.run(
        "@lab.post('/a')\ndef a(n):\n    return n",
        "again = a",
        "@lab.post('/b')\ndef b(n):\n    return [again is a, again(n)]",
        "a(1); b(2)",
    )
    assert "again = a\n" in same(session)


def test_path_parameters_and_queries_are_recorded_and_sent_again(session: Session) -> None:
    session.run(
        "@lab.get('/items/{number}')\n"
        "def item(number: int, exact: bool = False):\n    return [number, exact]",
        "@lab.post('/shelves/{shelf}')\ndef put(shelf: str, value):\n    return [shelf, value]",
        "item(7); item(8, exact=True); put('top left', [1]); put('x', None)",
    )
    same(session)
    assert "/items/8?exact=true" in (session.root / "out/README.md").read_text("utf-8")


def test_each_kind_of_endpoint_answers_the_same(session: Session) -> None:
    session.run(
        "from conduit_lab import majority_vote",
        "@lab.ml_pipeline('/p')\ndef p(data):\n    return data['x']",
        "@lab.ml_endpoint('/e', model='models/sign.npz')\ndef e(data):\n    return data",
        "@lab.ml_ensemble('/v', models=['models/sign.npz', 'models/sign.npz'])\n"
        "def v(predictions):\n    return majority_vote(predictions)",
        "@lab.get('/async')\nasync def later():\n    return 'now'",
        "import asyncio\np({'x': 1}); e([1, 1]); v([-1, -1]); asyncio.run(later())",
    )
    same(session)
    assert [example.path for example in session.lab.examples] == ["/p", "/e", "/v", "/async"]


# Models that a decorator names


@pytest.mark.parametrize("form", ["'models/sign.npz'", "Path('models/sign.npz')", "FILE"])
def test_a_model_named_by_its_path_is_copied(session: Session, form: str) -> None:
    session.run(
        "from pathlib import Path\nFILE = 'models/sign.npz'",
        f"@lab.ml_endpoint('/a', model={form})\ndef a(x):\n    return x",
        "a([1, 1])",
    )
    same(session)
    assert (session.root / "out/models/sign.npz").is_file()


def test_a_model_named_by_a_variable_is_loaded_once(session: Session) -> None:
    session.run(
        "sign = lab.load_model('models/sign.npz')",
        "@lab.ml_endpoint('/a', model=sign)\ndef a(x):\n    return x",
        "@lab.ml_ensemble('/b', models=[sign, sign])\ndef b(all):\n    return all[0]",
        "a([1, 1]); b([1, 1])",
    )
    assert same(session).count("load_model(") == 1


def test_a_missing_model_with_a_fallback_is_a_warning(session: Session) -> None:
    session.run(
        "@lab.ml_endpoint('/a', model='none.npz', fallback='models/sign.npz')\n"
        "def a(x):\n    return x",
        "a([1, 1])",
    )
    export = session.export()
    warning = "none.npz is missing; in the exported app too its fallback answers"
    assert export.warnings == (warning,)
    assert warning in repr(export)


def test_an_absolute_path_into_the_project_is_refused(session: Session) -> None:
    path = session.root / "models/sign.npz"
    session.run(f"@lab.ml_endpoint('/a', model='{path}')\ndef a(x):\n    return x", "a([1, 1])")
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        f"{path} is an absolute path (POST /a → a): write it relative to {session.root}"
    )


def test_an_endpoint_of_another_app_is_refused(session: Session, tmp_path: Path) -> None:
    session.names["other"] = Lab("other", root=tmp_path)
    session.run(
        "@other.post('/far')\ndef far(n):\n    return n",
        "@lab.post('/a')\ndef a(n):\n    return far(n)",
        "a(1)",
    )
    with pytest.raises(ExportError) as caught:
        session.export()
    assert str(caught.value) == (
        "far belongs to another app (POST /a → a → far): call a plain function from both endpoints"
    )
