"""No file of an export holds a secret."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ExportError
from conduit_lab.export import secret_files
from conduit_lab.export.secret import looks_secret
from conduit_lab.export.secret_files import check_files
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


def write(folder: Path, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)


CLOUD = "AKIA" + "ABCDEFGH12345678"
JWT = f"eyJ{'hbGciOiJI' * 2}.eyJ{'zdWIiOiIx' * 2}.{'SflKxwRJSM' * 2}"
PRIVATE = "-----BEGIN RSA " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("app.py", f"def f(x='{KEY[:10]}'\n      '{KEY[10:]}'): pass"),
        ("app.py", f"A = ('{KEY[:10]}' +\n     '{KEY[10:]}')"),
        ("app.py", f'A = """{KEY[:10]}\\\n{KEY[10:]}"""'),
        ("app.py", f"B = '{base64.b64encode(KEY.encode()).decode()}'"),
        ("app.py", f"B = '{base64.urlsafe_b64encode(b'key: ' + CLOUD.encode()).decode()}'"),
        ("app.py", "# the password: kettle-pan-9\nx = 1"),
        ("app.py", "class C:\n    api_key: str = 'kettle-pan-9'"),
        ("app.py", "c.client_secret = 'kettle-pan-9'"),
        ("app.py", "f(passphrase='kettle-pan-9')"),
        ("app.py", f"U = 'redis://:{'pan' * 4}@cache/0'"),
        ("README.md", "Log in with password=kettle-pan-9."),
        ("README.md", f"curl -H 'Authorization: Bearer {'abc123' * 4}'"),
        ("models/card.md", f"Made with {CLOUD}."),
        ("data/settings.yaml", "db:\n  password: kettle-pan-9"),
        ("data/settings.toml", "secret_key = 'kettle-pan-9'"),
        ("data/a.json", '{"a": [{"access_token": "kettle-pan-9"}]}'),
        ("data/words.npy", None),
        ("data/key.pem", PRIVATE),
        ("data/unknown", JWT),
        ("examples.jsonl", '{"payload": 1}\n{"payload": {"password": "kettle-pan"}}'),
        ("examples.jsonl", f'{{"answer": ["{JWT}"]}}'),
        ("state.json", f'["place", "str {KEY!r}"]'),
        ("compose.yaml", f"image: {'gh' + 'p_' + 'a1' * 18}"),
        ("a.txt", "sk_" + "live_" + "a1b2c3d4e5f6g7h8"),
        ("a.txt", "AccountKey=" + "Ab1+" * 12),
    ],
)
def test_every_file_is_searched(name: str, content: str | None, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if content is None:
        np.save(tmp_path / name, np.array(["kettle", KEY]))
    else:
        write(tmp_path, name, content)
    with pytest.raises(ExportError, match=f"^{name}, .*looks like a secret") as refused:
        check_files(tmp_path)
    assert "kettle" not in str(refused.value)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", '{"unk_token": "<unknown>", "vocab": {"password": 1, "secret": 2}}'),
        ("tokenizer.json", '{"added_tokens": [{"content": "[SEPARATOR]"}], "token": "<|end1|>"}'),
        ("examples.jsonl", '{"answer": [{"token": " refrigerator"}, {"token": "refrigerator"}]}'),
        ("examples.jsonl", '{"payload": {"max_tokens": 12, "password": "", "secret": null}}'),
        ("examples.jsonl", '{"payload": {"text": "My password is wrong, what can I do?"}}'),
        ("manifest.json", json.dumps({"sha256": {"a": hashlib.sha256(b"a").hexdigest()}})),
        (
            "data/ids.json",
            '{"id": "8f14e45f-ceea-467f-a0e6-1f5b6c1d2e3f", "max_token": "1234a678"}',
        ),
        ("data/ids.txt", base64.b64encode(bytes(range(64))).decode()),
        ("app.py", "token = tokens[0]\nsecret = make_secret(1)\nkey = os.environ['SHOP_KEY']"),
        ("app.py", "def f(stop_token='<|endoftext1|>', tokens_per_minute='1200000a'): pass"),
        ("app.py", "# the token: 12 characters at most\n# password: ask your administrator"),
        ("README.md", "Set `API_KEY=<your key>` or `password: ${PASSWORD_1}`."),
        ("README.md", "https://desk.example.com:8000/a@b, me@example.com, http://127.0.0.1:8000/"),
        (".env.example", "SHOP_TOKEN=\nDB_PASSWORD=\n"),
        ("requirements.txt", "numpy==2.1 --hash=sha256:" + "a1" * 32),
        ("models/a.onnx", b"\0\1" + KEY.encode()),
    ],
)
def test_ordinary_files_are_no_alarm(name: str, content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path, name, content)
    check_files(tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from([KEY, CLOUD, JWT, PRIVATE]),
    st.text(max_size=40),
    st.sampled_from(["a.py", "README.md", "x.json", "x.csv", "notes"]),
)
def test_a_key_is_found_wherever_it_stands(before: str, key: str, after: str, name: str) -> None:
    before, after = f"{before} ".replace("\0", ""), f" {after}".replace("\0", "")
    assert looks_secret("any", f"{before}{key}{after}", {})
    with tempfile.TemporaryDirectory() as place:
        Path(place, name).write_bytes(f"{before}{key}{after}".encode("utf-8", "replace"))
        with pytest.raises(ExportError):
            check_files(Path(place))


@settings(max_examples=100, deadline=None)
@given(st.uuids(), st.binary(min_size=16, max_size=64), st.lists(st.integers(), max_size=5))
def test_hashes_ids_and_numbers_are_no_secrets(one: UUID, data: bytes, ids: list[int]) -> None:
    texts = [str(one), one.hex, data.hex(), base64.b64encode(data).decode(), str(ids)]
    assert not any(looks_secret(name, text, {}) for text in texts for name in ("id", "sha256"))


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


def test_the_texts_of_a_store_are_read_and_its_vectors_are_not(session: Session) -> None:
    session.run(
        "import numpy as np",
        "notes = lab.vector_store('notes', dimension=8)",
        "rng = np.random.default_rng(0)",
        "for n in range(2000):\n"
        "    notes.add(str(n), rng.standard_normal(8), content=f'see http://shop.org/{n}: x@y')",
        "@lab.get('/near')\ndef near():\n    return [hit.id for hit in notes.search([1] * 8)]",
        "near()",
    )
    session.export()
    session.run("notes.add('key', [1] * 8, content='use sk-proj-4fQ9xT2mLw8ZbR6nVyK3pHs7')")
    with pytest.raises(ExportError, match=r"indexes/notes\.sqlite, table entries: this looks"):
        session.export()


@pytest.mark.parametrize("key", [KEY, base64.b64encode(KEY.encode()).decode(), "kettle-pan-9"])
def test_a_key_in_the_last_row_of_a_large_store_is_found(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "kettle-pan-9")
    place = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(place)) as store, store:
        store.execute("CREATE TABLE entries (id TEXT, embedding BLOB, content TEXT) STRICT")
        rows = ((str(n), b"\0" * 1024, f"{n} kettles, " * 40) for n in range(12_000))
        store.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
    assert place.stat().st_size > 2**24
    check_files(tmp_path)
    with closing(sqlite3.connect(place)) as store, store:
        store.execute("INSERT INTO entries VALUES ('last', x'00', ?)", [f"use {key}"])
    with pytest.raises(ExportError, match=r"large\.sqlite, table entries: this looks") as refused:
        check_files(tmp_path)
    assert key not in str(refused.value)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD"])
def test_the_working_directory_is_no_password(name: str) -> None:
    environ = {name: "/home/ada/shop"}
    assert not looks_secret("text", "see /home/ada/shop/README.md", environ)
    assert looks_secret("text", "see hunter2-hunter2", {f"DB_{name}": "hunter2-hunter2"})


FILLER = b"a kettle, a pan and a lid, 12 of each\n"
LARGE = 2**16


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read texts above 64 KiB in pieces of 16, which share 512 bytes."""
    for name, size in (("_MAX_BYTES", LARGE), ("_PIECE_BYTES", 2**14), ("_SHARED_BYTES", 2**9)):
        monkeypatch.setattr(secret_files, name, size)


def large_file(place: Path, secret: bytes, at: int, size: int) -> None:
    """Write more than `size` bytes of text with a secret at a byte."""
    before = FILLER * (at // len(FILLER))
    before += b" " * (at - len(before))
    place.write_bytes(before + secret + b"\n" + FILLER * ((size - at) // len(FILLER) + 10))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("at", [0, 2**14 - 7, 2**15 - 500, LARGE - 20, LARGE], ids=str)
@pytest.mark.parametrize(
    ("suffix", "secret"),
    [
        (".csv", KEY),
        (".csv", base64.b64encode(KEY.encode()).decode()),
        (".csv", "the password is kettle-pan-9 here"),
        (".txt", "api_key = kettle-pan-10"),
        (".py", "api_key = 'kettle-pan-10'"),
        (".jsonl", '{"client_secret": "kettle-pan-10"}'),
    ],
)
def test_a_large_text_is_searched_piece_by_piece(
    at: int, suffix: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "kettle-pan-9")
    place = tmp_path / f"large{suffix}"
    large_file(place, secret.encode(), at, LARGE)
    assert place.stat().st_size > LARGE
    line = place.read_bytes()[: at + 1].count(b"\n") + 1
    with pytest.raises(ExportError, match=rf"large{suffix}, line {line}\b") as refused:
        check_files(tmp_path)
    assert secret not in str(refused.value)


def test_a_text_above_16_mib_is_searched_in_little_memory(tmp_path: Path) -> None:
    place = tmp_path / "large.csv"
    large_file(place, b"no key", 0, 2**24)
    tracemalloc.start()
    check_files(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24 < place.stat().st_size
    large_file(place, KEY.encode(), 2**24, 2**24)
    with pytest.raises(ExportError, match=r"large\.csv, line"):
        check_files(tmp_path)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_file_of_one_line_is_searched(tmp_path: Path) -> None:
    place = tmp_path / "large.json"
    words = ",".join(['"kettle"'] * 20_000)
    place.write_text(f'{{"words": [{words}], "stop_token": "kettle-pan-10"}}')
    assert place.stat().st_size > LARGE
    check_files(tmp_path)
    place.write_text(f'{{"words": [{words}], "secret_key": "kettle-pan-10"}}')
    with pytest.raises(ExportError, match=r"large\.json, line 1, the value of secret_key"):
        check_files(tmp_path)


@pytest.mark.usefixtures("small_pieces")
def test_a_large_array_of_texts_is_searched_and_one_of_numbers_is_not(tmp_path: Path) -> None:
    texts = np.full(5_000, "x" * 30, "U40")
    np.save(tmp_path / "texts.npy", texts)
    np.save(tmp_path / "numbers.npy", np.frombuffer(KEY.encode() * 5_000, np.uint8))
    check_files(tmp_path)
    texts[-1] = KEY
    np.save(tmp_path / "texts.npy", texts)
    with pytest.raises(ExportError, match=r"texts\.npy, line"):
        check_files(tmp_path)
