"""The word list of `docs/style.md`, checked over code, documentation and notebooks."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.lint

ROOT = Path(__file__).parents[1]
EXEMPT = {"docs/style.md", "tests/test_style.py"}  # they quote the phrases

PHRASES = {
    r"wants?\b(?! to\b)|wanted": "expected …, got …",
    r"return (?:what|who)": "name what is returned",
    r"tells? (?:whether|what|how)": "return whether; report",
    r"(?:is|are|was|were|be|been) told": "name the parameter, or use get, receive",
    r"anew": "again; rebuild",
    r"who (?:waits?|waited|has waited|asks?|left)": "name the client, caller or reader",
    r"(?:in|keeps?) company|joined company": "batched together",
    r"door ?bells?|rings? (?:the|a|its|every) bells?|the bells?": "wakeup, notify",
    r"good order": "shut down gracefully",
    r"bur(?:y|ies|ied)": "tombstone",
    r"looked (?:at|after)": "check; compare; update",
    r"sees? to": "handle",
    r"(?:one|two|once|\d+) an? (?:row|text|sample|token|chunk|layer|request|call|file)": "per",
    r"hands? (?:it |them )?over": "pass; fall back",
}
PATTERN = re.compile(
    "|".join(f"(?P<p{i}>\\b(?:{phrase})\\b)" for i, phrase in enumerate(PHRASES)), re.IGNORECASE
)
STRING = tokenize.STRING
HEADLESS = re.compile(r"\s*(?:what|who|which|whatever|so many)\b", re.IGNORECASE)


def _problems(text: str, *, is_docstring: bool = False) -> Iterator[str]:
    for match in PATTERN.finditer(" ".join(text.split())):
        advice = list(PHRASES.values())[int((match.lastgroup or "p0")[1:])]
        yield f"{match.group()!r}: {advice}"
    if is_docstring and HEADLESS.match(text):
        yield f"{text.splitlines()[0]!r}: start with a verb or a noun"


def _docstrings(source: str) -> dict[int, str]:
    """Return each docstring by the line it starts on."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {
        node.body[0].lineno: docstring
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and (docstring := ast.get_docstring(node))
    }


def _code_problems(source: str, *, strings: bool) -> Iterator[str]:
    """Check docstrings and comments, and with `strings` every string literal."""
    docstrings = _docstrings(source)
    for line, docstring in docstrings.items():
        yield from (f"{line}: {problem}" for problem in _problems(docstring, is_docstring=True))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        literal = strings and token.type == STRING and line not in docstrings
        if token.type == tokenize.COMMENT or literal:
            yield from (f"{line}: {problem}" for problem in _problems(token.string))


def _page_problems(text: str) -> Iterator[str]:
    for i, line in enumerate(text.splitlines(), 1):
        yield from (f"{i}: {problem}" for problem in _problems(line))


def _notebook_problems(text: str) -> Iterator[str]:
    for i, cell in enumerate(json.loads(text)["cells"], 1):
        if cell["cell_type"] == "markdown":
            yield from (f"cell {i}: {problem}" for problem in _problems("".join(cell["source"])))


def _file_problems(name: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".md"):
        return list(_page_problems(text))
    if name.endswith(".ipynb"):
        return list(_notebook_problems(text))
    # The strings of tests and of demo data are other people's words.
    return list(_code_problems(text, strings=name.startswith(("conduit_lab/", "benchmarks/"))))


def _files() -> list[str]:
    patterns = ("*.md", "docs/*.md", "data/models/*.md", "notebooks/*.ipynb")
    code = ("conduit_lab", "tests", "typing_tests", "benchmarks", "data/make")
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    found += [path for folder in code for path in (ROOT / folder).rglob("*.py")]
    return sorted({path.relative_to(ROOT).as_posix() for path in found} - EXEMPT)


def test_no_file_holds_a_phrase_of_the_word_list() -> None:
    problems = {name: _file_problems(name) for name in _files()}
    new = [f"{name}:{problem}" for name, found in problems.items() for problem in found]
    assert not new, "see docs/style.md:\n" + "\n".join(new)


def test_the_word_list_reads_prose_and_leaves_code_alone() -> None:
    source = (
        '"""What is kept."""\nraise E("wants x")  # tell whether it rings the bell\nwanted = 1\n'
    )
    assert len(list(_code_problems(source, strings=True))) == 4
    assert len(list(_code_problems(source, strings=False))) == 3
    assert list(_code_problems('"""Return what."""', strings=False)) != []
    assert list(_problems("the users who read one row per text want to wait; labelled")) == []
