"""Recognize pydantic models without importing pydantic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from pydantic import BaseModel


def is_model(value: Any) -> TypeGuard[BaseModel]:
    """Return whether `value` is a pydantic model; False if pydantic is not loaded."""
    base = _base_model()
    return base is not None and isinstance(value, base)


def is_model_type(kind: type) -> TypeGuard[type[BaseModel]]:
    """Return whether `kind` is a pydantic model class."""
    base = _base_model()
    return base is not None and issubclass(kind, base)


def _base_model() -> type | None:
    # None while another thread is importing the module
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
