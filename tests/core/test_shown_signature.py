"""A signature for readers."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.shown_signature import shown_signature


def search(
    text: str, where: dict[str, Any] | None = None, file: str = "a.b"
) -> np.typing.NDArray[np.float32]:
    raise NotImplementedError


def test_types_have_neither_modules_nor_quotes_and_defaults_stay() -> None:
    assert shown_signature(search) == (
        "(text: str, where: dict[str, Any] | None = None, file: str = 'a.b') -> NDArray[float32]"
    )


def test_a_built_in_without_a_signature_has_dots() -> None:
    assert shown_signature(max) == "(…)"
