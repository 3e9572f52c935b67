from __future__ import annotations

import inspect

import pytest

from conduit_lab.core import errors
from conduit_lab.core.errors import (
    ConduitError,
    InputError,
    MissingExtra,
    StreamCancelled,
    StreamLagged,
)

ALL = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_every_error_is_a_conduit_error(error: type[Exception]) -> None:
    assert issubclass(error, ConduitError)


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_only_bad_input_is_a_value_error(error: type[Exception]) -> None:
    assert issubclass(error, ValueError) == issubclass(error, InputError)


def test_input_errors_are_these() -> None:
    assert {e.__name__ for e in ALL if issubclass(e, InputError)} == {
        "InputError",
        "ModelInputError",
        "RemoteInputError",
        "VectorInputError",
    }


def test_missing_extra_names_how_to_install_it() -> None:
    error = MissingExtra("onnxruntime", "cpu", "running ONNX models")
    assert isinstance(error, ImportError)
    assert str(error) == (
        "running ONNX models needs onnxruntime, which is not installed: "
        "pip install 'conduit-lab[cpu]'"
    )


def test_lag_tells_what_is_missing_and_where_to_go_on() -> None:
    error = StreamLagged("writer", 3, 7)
    assert (error.missed, error.resume_at) == (3, 7)
    assert "'writer' has dropped 3 chunks" in str(error)
    assert "chunk 7" in str(error)


def test_cancellation_holds_what_had_come() -> None:
    assert StreamCancelled("writer", "half").partial == "half"
