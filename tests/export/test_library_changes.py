"""Library changes: an export repeats the settings and patches of the libraries that it uses."""

from __future__ import annotations

import csv
import json
import logging
import sys
import textwrap
import warnings
from collections.abc import Iterator

import pytest

from tests.export.session import Session

ASK = '@lab.post("/ask")\ndef ask(x: int):\n    return {}'

CARRIED = {
    "an option": ("import pandas as pd", "pd.set_option('display.precision', 6)", "pd.NA is x"),
    "an option by its attribute": (
        "import pandas as pd",
        "pd.options.display.precision = 6",
        "pd.NA is x",
    ),
    "a limit of the process": ("import sys", "sys.setrecursionlimit(5000)", "x"),
    "a dialect": ("import csv", "csv.register_dialect('t', delimiter='|')", "csv.excel is x"),
    "a patched class": (
        "import json",
        "json.JSONEncoder.default = lambda self, value: 1",
        "json.dumps(x)",
    ),
    "a patched module": (
        "import textwrap\nKEPT = 'a'",
        "def own(text): return KEPT\ntextwrap.dedent = own",
        "textwrap.dedent(str(x))",
    ),
    "a patch by setattr": (
        "from textwrap import TextWrapper",
        "setattr(TextWrapper, 'fill', len)",
        "TextWrapper().width",
    ),
    "errors": ("import warnings", "warnings.filterwarnings('error', 'no such text')", "x"),
    "the level of a logger": (
        "import logging",
        "logging.getLogger('no.such').setLevel(10)",
        "logging.getLogger('no.such').level",
    ),
    "the level of a named logger": (
        "import logging\nlog = logging.getLogger('no.such')",
        "log.setLevel(10)",
        "log.level",
    ),
}
LEFT_OUT = {
    "an unused library": ("import csv", "csv.register_dialect('t', delimiter='|')", "x"),
    "warnings that are hidden": (
        "import warnings",
        "warnings.filterwarnings('ignore', 'no such text')",
        "warnings.warn is x",
    ),
    "a call that sets nothing": ("import json", "json.dumps({})", "json.dumps(x)"),
    "a message": (
        "import logging\nlog = logging.getLogger('no.such')",
        "log.debug('hello')",
        "log.level",
    ),
    "what belongs to a thread": (
        "import decimal",
        "decimal.getcontext().prec = decimal.getcontext().prec",
        "str(decimal.Decimal(x))",
    ),
    "a path of this machine": ("import sys", "sys.path[:] = sys.path", "sys.maxsize"),
}


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Undo the settings of the cells in this process."""
    import pandas as pd

    limit, default, dedent = sys.getrecursionlimit(), json.JSONEncoder.default, textwrap.dedent
    fill, level = textwrap.TextWrapper.fill, logging.getLogger("no.such").level
    with pd.option_context("display.precision", 6), warnings.catch_warnings():
        yield
    sys.setrecursionlimit(limit)
    json.JSONEncoder.default, textwrap.dedent = default, dedent  # type: ignore[method-assign]
    textwrap.TextWrapper.fill = fill  # type: ignore[method-assign]
    logging.getLogger("no.such").setLevel(level)
    if "t" in csv.list_dialects():
        csv.unregister_dialect("t")


def _source(session: Session, parts: tuple[str, str, str]) -> str:
    before, change, answer = parts
    session.run(before, change, ASK.format(answer), "ask(1)")
    return session.source()


@pytest.mark.parametrize("name", CARRIED)
def test_a_statement_that_changes_a_used_library_is_carried(name: str, session: Session) -> None:
    source = _source(session, CARRIED[name])
    change = CARRIED[name][1].split("\n")[-1]
    assert source.count(change) == 1
    assert source.index(change) < source.index("@lab.post")


@pytest.mark.parametrize("name", LEFT_OUT)
def test_any_other_statement_is_left_out(name: str, session: Session) -> None:
    assert LEFT_OUT[name][1] not in _source(session, LEFT_OUT[name])
