"""Static checks: code that no comparison of states can prove is refused or named."""

from __future__ import annotations

import builtins
import decimal
import locale
import re
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.checks import check_source
from conduit_lab.export.closure import Closure
from conduit_lab.export.state.compared import app_state, state_difference
from conduit_lab.export.state.walk import StateLine
from tests.export.conftest import weights
from tests.export.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.close()


def warnings_of(session: Session) -> list[str]:
    closure = Closure(session.lab, ["lab = Lab('desk')", *session.cells], session.names)
    return check_source(session.lab, closure)


@pytest.fixture
def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put names among the builtins, as IPython does."""
    for name in ("display", "get_ipython"):
        own = types.FunctionType((lambda *values: None).__code__, {}, name)
        own.__module__ = "IPython.core.display_functions"
        monkeypatch.setattr(builtins, name, own, raising=False)


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("if x > 9: display(x)", "ask uses display, which exists only in a notebook"),
        ("if x > 9: get_ipython().run_line_magic('time', '')", "ask uses get_ipython"),
        ("x = x if x < 9 else globals()['K']", "ask looks names up in globals()"),
        ("x = x if x < 9 else eval('K')", r"ask passes text to eval\(\)"),
        ("if x > 9: exec('x = 1')", r"ask passes text to exec\(\)"),
        ("import __main__", "ask looks names up in __main__"),
        ("from __main__ import K", "ask looks names up in __main__"),
        ("import sys; x if x < 9 else sys.modules['__main__'].K", "ask looks names up in __main__"),
        ("name = 'json'; m = __import__(name)", "ask imports a module by a computed name"),
    ],
)
def test_code_that_needs_the_session_is_refused_in_any_branch(
    code: str, words: str, session: Session
) -> None:
    session.run("K = 1", f"@lab.post('/ask')\ndef ask(x: int):\n    {code}\n    return x")
    with pytest.raises(ExportError, match=rf"{words}.*\(needed by POST /ask → ask\)"):
        warnings_of(session)


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        ("if x > 9: open('words.txt')", True),
        ("if x > 9: Path('deep/words.txt').read_text()", True),
        ("if x > 9: pd.read_csv('deep/words.txt', sep='|')", True),
        ("if x > 9: open('words.txt', 'a')", False),
        ("if x > 9: open('words.txt', mode='w')", False),
        ("if x > 9: open('none.txt')", False),
        ("if x > 9: Path('deep')", False),
        ("if x > 9: lab.load_model('models/sign.npz')", False),
        ("x in ['words.txt']", False),
    ],
)
def test_a_file_that_an_untried_branch_would_open_is_refused(
    code: str, is_refused: bool, session: Session
) -> None:
    (session.root / "deep").mkdir()
    for name in ("words.txt", "deep/words.txt"):
        (session.root / name).write_text("one")
    (session.root / "models").mkdir()
    weights(session.root / "models" / "sign.npz", ["up", "down"])
    session.run(
        "from pathlib import Path\nimport pandas as pd\nsign = lab.load_model('models/sign.npz')",
        f"@lab.post('/ask')\ndef ask(x: int):\n    {code}\n    return sign.name",
    )
    if not is_refused:
        assert warnings_of(session) == []
        return
    with pytest.raises(ExportError, match=r"ask opens .*words\.txt, which is not in the export"):
        warnings_of(session)


@pytest.mark.usefixtures("in_a_notebook")
@pytest.mark.parametrize(
    "code",
    [
        "display = str; return display(x)",
        "return eval('x + 1', {'x': x})",
        "return [globals for globals in [x]]",
        "return __import__('math').floor(x)",
        "return {'__main__': x}",
        "return vars(object()) if x > 9 else locals()",
    ],
)
def test_ordinary_code_with_such_names_is_exported(code: str, session: Session) -> None:
    session.run(f"@lab.post('/ask')\ndef ask(x: int):\n    {code}", "ask(1)")
    warnings_of(session)


@pytest.mark.parametrize(
    ("cells", "body", "words"),
    [
        (
            "from datetime import datetime",
            "return str(datetime.now())",
            r"clock \(datetime.now",
        ),
        (
            "from datetime import date as day",
            "return str(day.today())",
            r"clock \(day.today",
        ),
        ("import time", "return time.time()", r"reads the clock \(time.time\)"),
        ("from time import time as t", "return t()", r"reads the clock \(t\)"),
        ("import uuid", "return str(uuid.uuid4())", r"draws random numbers \(uuid.uuid4\)"),
        (
            "import secrets",
            "return secrets.token_hex(2)",
            r"numbers \(secrets.token_hex",
        ),
        ("import os", "return os.urandom(1).hex()", r"draws random numbers \(os.urandom\)"),
        (
            "import random",
            "return random.choice([1, 2])",
            r"generator \(random.choice\)",
        ),
        ("from random import random as r", "return r()", r"an unseeded generator \(r\)"),
        (
            "import numpy as np",
            "return float(np.random.rand())",
            r"generator \(np.random.rand",
        ),
        (
            "import numpy as np",
            "return float(np.random.default_rng().random())",
            r"unseeded generator \(np.random.default_rng\(\)\)",
        ),
        ("", "import random\n    return random.random()", r"unseeded generator \(random.random\)"),
        ("", "from time import time\n    return time()", r"reads the clock \(time\)"),
        (
            "import random\ndef inner(): return random.random()\ndef helper(): return inner()",
            "return helper()",
            r"unseeded generator \(random.random\)",
        ),
        (
            "import time\nclass Shop:\n    def at(self): return time.time()\nshop = Shop()",
            "return shop.at()",
            r"reads the clock \(time.time\)",
        ),
    ],
)
def test_clocks_and_generators_are_named_until_they_vary(
    cells: str, body: str, words: str, session: Session
) -> None:
    session.run(cells, f"@lab.get('/ask')\ndef ask():\n    {body}", "ask()")
    (warning,) = warnings_of(session)
    assert warning.startswith("GET /ask ")
    assert re.search(words, warning)
    assert warning.endswith('lab.varies("/ask") lets the proof compare their shape')
    session.lab.varies("/ask")
    assert warnings_of(session) == []


@pytest.mark.parametrize(
    ("cells", "body"),
    [
        ("import numpy as np", "return float(np.random.default_rng(1).random())"),
        ("import random", "return random.Random(4).random()"),
        ("import time\ndef unused(): return time.time()", "return 1"),
        ("import datetime", "return str(datetime.date(2024, 1, 2))"),
        ("import time", "return time.strptime('10', '%H').tm_hour"),
    ],
)
def test_seeded_code_is_no_warning(cells: str, body: str, session: Session) -> None:
    session.run(cells, f"@lab.get('/ask')\ndef ask():\n    {body}", "ask()")
    assert warnings_of(session) == []


def test_globals_that_are_set_and_texts_that_run_are_warnings(session: Session) -> None:
    session.run(
        "count = 0",
        "@lab.post('/ask')\ndef ask(x: int):\n    global count\n    count = x\n"
        "    return eval('x', {'x': x})",
        "ask(0)",
    )
    first, second = sorted(warnings_of(session))
    assert first.startswith("ask passes text to eval()")
    assert second.startswith("ask sets the global count: each worker process has its own")


def test_settings_of_libraries_belong_to_the_state(
    session: Session,
) -> None:
    session.run(
        "from decimal import Decimal, getcontext",
        "import numpy as np\nimport time",
        "@lab.post('/ask')\ndef ask(x: str):\n"
        "    return [str(Decimal(x) / 3), float(np.sqrt(2)), time.strftime('%A', time.gmtime(0))]",
        "ask('1')",
    )

    def lines() -> list[StateLine]:
        return app_state(session.lab, session.names, session.root)

    before = lines()
    with decimal.localcontext():
        session.run("getcontext().prec = 4")
        found = str(state_difference(lines(), before, [str(cell) for cell in session.cells]))
    assert "setting decimal.getcontext().prec: 4 here, 28 in the export" in found
    assert "Cell 4 sets it for the whole session: getcontext().prec = 4" in found
    with np.errstate(over="raise"):
        assert "setting numpy.geterr()['over']: raise" in str(state_difference(lines(), before))
    with np.errstate(all="ignore"):  # which changes no answer
        assert state_difference(lines(), before) is None
    other = "C.UTF-8"
    old = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, other)
        found = str(state_difference(lines(), before))
    finally:
        locale.setlocale(locale.LC_TIME, old)
    assert f"setting locale LC_TIME: {other} here, {old} in the export (needed by POST" in found
    assert "A call sets it for the whole session: set it inside the function" in found


def test_settings_of_libraries_that_no_endpoint_uses_are_left_alone(session: Session) -> None:
    session.run("@lab.post('/ask')\ndef ask(x: int): return x")
    before = app_state(session.lab, session.names, session.root)
    with decimal.localcontext(prec=3), np.errstate(all="raise"):
        assert app_state(session.lab, session.names, session.root) == before


@pytest.mark.parametrize("is_changed", [True, False])
def test_results_cached_before_a_name_changed_are_warned_of(
    is_changed: bool, session: Session
) -> None:
    session.run(
        "from functools import lru_cache\nRATE = 2",
        "@lru_cache\ndef priced(n):\n    return n * RATE",
        "priced(7)",
        "RATE = 3" if is_changed else "other = 3",
        "@lab.post('/ask')\ndef ask(n: int):\n    return priced(n)",
        "ask(1)",
    )
    expected = [
        "priced has cached results, which an app computes again, and RATE changed after priced was "
        "defined: call priced.cache_clear(), and then its endpoints"
    ]
    assert warnings_of(session) == (expected if is_changed else [])
