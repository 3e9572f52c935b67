"""Corners of fallbacks."""

from __future__ import annotations

import pytest

from conduit_lab.flow.fallback import Fallback


def test_fallback_of_nothing_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        Fallback()
