"""No file of an export holds a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.secret import check_files, looks_secret
from tests.export.session import Session

KEY = "sk-" + "a1b2" * 8


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (f"def call(x, key='{KEY}'): return x", "app.py, line"),
        (f"def call(x):\n    header = '{KEY}'\n    return x", "app.py, line"),
        ("def call(x, password='kettle-pan-9'): return x", "the value of password"),
        ("def call(x): return {'api_key': 'kettle-pan-9', 'x': x}['x']", "the value of api_key"),
        (
            "def call(x):\n    options = dict(client_secret='kettle-pan-9')\n    return x",
            "the value of client_secret",
        ),
        ("def call(x):\n    '''postgres://me:hunter2@db/x'''\n    return x", "app.py, line"),
    ],
)
def test_a_secret_in_code_is_refused(cells: str, where: str, tmp_path: Path) -> None:
    session = Session(tmp_path).run(cells, '@lab.post("/a")\ndef a(x): return call(x)', "a(1)")
    with pytest.raises(ExportError, match=where) as refused:
        session.export()
    assert KEY not in str(refused.value)
    assert "kettle-pan-9" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_secret_in_a_recorded_call_is_refused(tmp_path: Path) -> None:
    session = Session(tmp_path).run('@lab.post("/a")\ndef a(x): return x', f'a("{KEY}")')
    with pytest.raises(ExportError, match=r"README\.md, line"):
        session.export()


def test_a_secret_of_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "kettle-pan-9")
    session = Session(tmp_path).run(
        '@lab.post("/a")\ndef a(x):\n    # kettle-pan-9\n    return x', "a(1)"
    )
    with pytest.raises(ExportError, match=r"app\.py, line"):
        session.export()


def test_a_secret_in_a_module_of_the_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_shop.py").write_text("def call(x, token='kettle-pan-9'): return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    session = Session(tmp_path).run(
        "import own_shop", '@lab.post("/a")\ndef a(x): return own_shop.call(x)', "a(1)"
    )
    with pytest.raises(ExportError, match=r"own_shop\.py, the value of token"):
        session.export()


@pytest.mark.parametrize(
    "name", ["special_tokens", "stop_token", "eos_token", "pad_token", "end_of_text_token"]
)
def test_tokens_of_a_tokenizer_are_no_secrets(name: str) -> None:
    assert not looks_secret(name, "<|endoftext|>", {})


def test_a_plain_word_of_the_environment_is_no_secret_in_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "postgres")
    (tmp_path / "README.md").write_text("It runs on postgres.")
    check_files(tmp_path)
