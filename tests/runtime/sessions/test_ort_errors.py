"""onnxruntime's errors: what the input is to blame for, and what ran out of memory."""

from __future__ import annotations

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state

from conduit_lab.core.errors import ModelInputError, ModelLoadError, ModelRunError
from conduit_lab.runtime.sessions.ort_errors import (
    input_error,
    run_reason,
    translate_library_errors,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("std::bad_alloc", "out of memory"),
        (
            "Failed to allocate memory for requested buffer of size 4000000",
            "it requested 3.81 MB beyond its memory limit",
        ),
        ("shapes differ\nat node 3", "shapes differ"),
    ],
)
def test_reason_of_a_failed_run(text: str, reason: str) -> None:
    assert run_reason(RuntimeError(text)) == reason


@pytest.mark.parametrize(
    ("text", "device", "refused"),
    [("index out of range", "cpu", True), ("index out of range", "cuda", False),
     ("std::bad_alloc", "cpu", False)],
)  # fmt: skip
def test_a_kernels_complaint_is_about_the_input_on_the_cpu_alone(
    text: str, device: str, refused: bool
) -> None:
    error = input_error(state.RuntimeException(text), device)
    assert isinstance(error, ModelInputError) is refused


def test_own_errors_pass_unchanged_and_others_get_the_problem() -> None:
    with (
        pytest.raises(ModelInputError, match=r"^own$"),
        translate_library_errors(ModelLoadError, "m.onnx cannot be loaded"),
    ):
        raise ModelInputError("own")
    with (
        pytest.raises(ModelRunError, match=r"^m\.onnx failed: broken$"),
        translate_library_errors(ModelRunError, "m.onnx failed"),
    ):
        raise ValueError("broken")
