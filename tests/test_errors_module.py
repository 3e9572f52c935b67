"""conduit_lab.errors: every exception of the package, and nothing else."""

from __future__ import annotations

import conduit_lab.errors
from conduit_lab.core import errors


def test_it_holds_every_exception_of_the_package() -> None:
    exceptions = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ConduitError)
    }
    public = {name: v for name, v in vars(conduit_lab.errors).items() if not name.startswith("_")}
    assert public == exceptions
