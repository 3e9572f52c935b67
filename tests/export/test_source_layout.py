"""The layout of app.py: what ruff makes of it is what it is."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

from conduit_lab.export.source_layout import formatted, imports
from tests.export.session import Session

VALUES = [
    "'a'",
    "'it\\'s'",
    "'say \"a\"'",
    "'\"it\\'s\"'",
    "b'a'",
    "'a\\n\\x07\\u2028'",
    "[]",
    "{}",
    "(1,)",
    "-1.5e-07",
    repr(["kettle"] * 4),
    repr(["kettle"] * 12),
    repr(tuple(range(60))),
    repr({"name": "kettle", "price": 12.5, "tags": ["hot", "new"], "made in": ("a", "b")}),
    repr({"words": ["kettle"] * 20, "one": [1], "deep": {"er": [["iron"] * 14, {"x": {1, 2}}]}}),
    repr([{"id": number, "text": "a kettle that whistles"} for number in range(3)]),
    repr("long " * 15),
    repr("long " * 16),
    repr("long " * 40),
    repr({"key": "long " * 40}),
    "lab.load_model('models/some_very_long_folder_name/sign.npz', device='cpu', name='the sign')",
    "lab.load_model('models/sign.npz', labels=['up and up', 'down and down'], name='sign', b=1)",
    f"Sequential(first, second, Parallel({{'topic': topic, 'mood': mood, 'other': {'o' * 40}}}))",
    "json.loads((HERE / 'data/WORDS.json').read_text('utf-8'))",
]

SESSIONS = [
    [
        "import math\nfrom collections import Counter\n\nimport numpy as np",
        "# the shop's sign\n# of its door\nsign = lab.load_model('models/sign.npz')  # fast",
        'RATE = 0.19\nWORDS = ["kettle", "iron"]\nTABLE = np.arange(6)',
        "WORDS += ['spade'] * 20",
        "def price(n):\n    # with taxes\n    return math.ceil(n * RATE) + int(TABLE[n])",
        'class Box:\n    """Things."""\n\n    def __init__(self):\n        self.items = Counter()',
        "box = Box()",
        'for letter in "ab":\n    box.items[letter] += 1',
        '@lab.post("/price")\ndef ask(n: int):\n    return [price(n), WORDS, len(box.items)]',
        '@lab.post("/sign")\ndef tell(x: list):\n    return sign.predict(x)',
        "ask(1)",
        "tell([1, 1])",
    ],
    ["import json as j", '@lab.get("/a")\ndef a():\n    return j.dumps([1])', "a()"],
    [
        "from functools import lru_cache, partial",
        "@lru_cache\ndef twice(x):\n    return 2 * x",
        "four = partial(twice, 2)\nnames = {}",
        'names["a"] = four()\nother = names',
        '@lab.get("/a")\ndef a():\n    return [four(), names, other]',
        '@lab.get("/b")\ndef b():\n    return other["a"]',
        "a()",
        "b()",
    ],
]


def ruff(*arguments: str | Path) -> str:
    """Run ruff with its default rules, and return its output."""
    command = [sys.executable, "-m", "ruff", *map(str, arguments)]
    folder = Path(arguments[-1]).parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.stdout + done.stderr


def test_generated_assignments_are_as_ruff_formats_them(tmp_path: Path) -> None:
    file = tmp_path / "values.py"
    lines = [formatted(f"name = {value}") for value in VALUES]
    lines += [formatted(f"{'a_longer_name' * 3} = {value}") for value in VALUES]
    lines += [formatted(f"other = {value}  # snapshot") for value in VALUES]
    lines.append(formatted("# above\nname = ['a']\nother = 'b'"))
    text = "\n".join(lines) + "\n"
    file.write_text(text, "utf-8")
    assert "1 file" in ruff("format", "--isolated", file)
    made = file.read_text("utf-8").splitlines()
    assert list(difflib.unified_diff(text.splitlines(), made, lineterm="")) == []


def test_formatting_keeps_the_values() -> None:
    for value in VALUES[:20]:
        made: dict[str, object] = {}
        exec(formatted(f"x = {value}  # snapshot"), made)
        assert made["x"] == eval(value)


@pytest.mark.parametrize(
    "source", ["f(x)", "def f():\n    return 'a'", "x = 'a'\nfor x in 'b':\n    pass"]
)
def test_other_source_stays_word_for_word(source: str) -> None:
    assert formatted(source) == source


def test_imports_are_sorted_in_three_blocks() -> None:
    lines = [
        "from shop import helper", "import numpy as np", "from json import loads", "import ast",
        "from conduit_lab import Sequential", "from conduit_lab import App",
        "from json import JSONDecoder", "from json import loads",
    ]  # fmt: skip
    assert imports(lines, {"shop"}) == (
        "import ast\nfrom json import JSONDecoder, loads\n\n"
        "import numpy as np\nfrom conduit_lab import App, Sequential\n\nfrom shop import helper"
    )


def test_a_long_import_has_a_name_per_line() -> None:
    found = imports([f"from typing import Name{n:02}" for n in range(12)], ())
    assert found.startswith("from typing import (\n    Name00,\n")
    assert found.endswith("    Name11,\n)")


@pytest.mark.parametrize("cells", SESSIONS)
def test_the_exported_source_is_clean_for_ruff(session: Session, cells: list[str]) -> None:
    session.run(*cells)
    file = session.export().folder / "app.py"
    assert "All checks passed" in ruff("check", "--isolated", "--extend-select", "I", file)
    assert ruff("format", "--isolated", "--diff", file) == "1 file already formatted\n"


def changed_lines(before: Path, after: Path) -> list[str]:
    """Return the added and removed lines of the text files of two exports."""
    found = []
    for name in sorted({path.name for path in [*before.iterdir(), *after.iterdir()]}):
        if (before / name).is_file():
            old, new = ((place / name).read_text("utf-8").splitlines() for place in (before, after))
            lines = difflib.unified_diff(old, new, lineterm="", n=0)
            found += [f"{name}: {line}" for line in list(lines)[2:] if not line.startswith("@@")]
    return found


def test_an_edit_of_one_line_changes_few_lines_of_the_folder(session: Session) -> None:
    session.run(*SESSIONS[0])
    first = session.export().folder
    older = first.rename(first.with_name("older"))
    assert changed_lines(older, session.export().folder) == []
    endpoint = SESSIONS[0][-4]
    session.run(endpoint.replace("price(n)", "price(n) + 1"), "ask(1)")
    lines = changed_lines(older, session.export().folder)
    assert 0 < len(lines) <= 10, lines
    assert sum(line.startswith("app.py") for line in lines) == 2
