"""The stores of an app by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import App
from conduit_lab.core.errors import UnknownName


def test_an_unknown_store_is_a_key_error_that_names_the_nearest(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    with pytest.raises(UnknownName, match="no store 'docs'; there are none yet"):
        app.stores["docs"]
    app.vector_store("documents", dimension=2)
    with pytest.raises(KeyError) as caught:
        app.stores["document"]
    assert str(caught.value) == (
        "no store 'document'; there are documents. Did you mean 'documents'?"
    )
    assert app.stores.get("document") is None
    app.stores["documents"].close()
