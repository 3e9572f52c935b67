"""Tables of pandas in an export: the user's statement, or a frame file without pickle."""

from __future__ import annotations

import pytest

from tests.export.forms.carried import MADE, carried, refusal
from tests.export.session import Session

IMPORTS = "import datetime\nimport numpy as np\nimport pandas as pd"
FRAME = "V = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})"


def test_a_statement_that_still_gives_the_frame_stays(session: Session) -> None:
    assert carried(session, IMPORTS, f"{FRAME}  # two").endswith(f"{FRAME}  # two")


@pytest.mark.parametrize(
    "change",
    [
        "V['c'] = V['a'] * 2",
        "V.loc[0, 'a'] = 7",
        "V.columns = ['k', 'l']",
        "V.attrs['unit'] = 'kg'",
        "V.index.name = 'row'",
        "V = V.set_index('a')",
        "V = V.astype({'a': 'float32'})",
        "V = V['a']",
        "V = V.groupby('b', dropna=False).size()",
        "V = V[['b', 'a']]",
    ],
)
def test_a_frame_that_was_changed_is_a_file(session: Session, change: str) -> None:
    source = carried(session, IMPORTS, FRAME, change, body="str(V)")
    assert source.endswith('V = load_frame(HERE / "data/V.npz")')


def test_frames_inside_containers_are_files_of_their_keys(session: Session) -> None:
    source = carried(
        session, IMPORTS, MADE, "V = {'x': made(pd.Series([1])), 'n': 1}", "V['n'] = 2"
    )
    assert source.endswith('V = {"x": load_frame(HERE / "data/V_x.npz"), "n": 2}')


def test_a_frame_in_two_places_stays_one(session: Session) -> None:
    cells = ("df = made(pd.DataFrame({'a': [1]}))", "V = {'x': df}", "V['y'] = df")
    carried(session, IMPORTS, MADE, *cells, body="V['x'] is V['y'] and V['x'] is df")
    assert session.lab.examples[-1].answer is True


@pytest.mark.parametrize(
    "made",
    [
        "pd.Timestamp('2026-01-01', tz='Europe/Berlin')",
        "pd.Timestamp('2026-01-01 03:00:00.000000001')",
        "pd.Timedelta('3h')",
        "[pd.NaT, pd.NA]",
    ],
)
def test_scalars_of_pandas_are_their_calls(session: Session, made: str) -> None:
    carried(session, IMPORTS, MADE, f"V = made({made})", body="str(V)")


def test_a_frame_of_other_objects_is_refused(session: Session) -> None:
    cell = "V = made(pd.DataFrame({'at': [datetime.date(2026, 1, 2)]}))"
    assert refusal(session, IMPORTS, MADE, cell) == (
        "V has no file form without pickle: column 'at' holds a date (GET /v → v → V): "
        "use columns of numbers, text, times or categories, with text and None for missing values"
    )


def test_a_frame_with_a_key_is_refused(session: Session) -> None:
    cells = (FRAME, "V['password'] = ['kettle-pan', 'kettle-pot']")
    assert "password looks like a secret" in refusal(session, IMPORTS, *cells)
