"""Random generators continue in the export where the session stopped."""

from __future__ import annotations

import pytest

from tests.export.forms.carried import MADE, carried
from tests.export.session import Session

IMPORTS = "import random\nimport numpy as np"


@pytest.mark.parametrize(
    "made",
    [
        "random.Random(3)",
        "np.random.default_rng(0)",
        "np.random.default_rng()",
        "np.random.Generator(np.random.MT19937(2))",
        "np.random.Generator(np.random.SFC64(np.random.SeedSequence(5, spawn_key=(1,))))",
        "np.random.RandomState(1)",
        "np.random.RandomState(np.random.PCG64(1))",
    ],
)
@pytest.mark.parametrize("drawn", [True, False])
def test_a_generator_keeps_its_state(session: Session, made: str, drawn: bool) -> None:
    cells = ["V.gauss(0, 1)" if made.startswith("random.") else "V.normal()"] if drawn else []
    carried(session, IMPORTS, MADE, f"V = made({made})", *cells)


def test_a_seeded_generator_that_was_not_used_is_its_statement(session: Session) -> None:
    cell = "V = np.random.default_rng(7)"
    assert carried(session, IMPORTS, cell).endswith(cell)
    assert session.names["V"].integers(100) >= 0
