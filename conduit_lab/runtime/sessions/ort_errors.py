"""Translation of other libraries' errors, mainly onnxruntime's, into the package's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conduit_lab.core.errors import ConduitError, ModelInputError, ModelRunError
from conduit_lab.core.paths import display
from conduit_lab.core.text import first_line
from conduit_lab.core.views import figures
from conduit_lab.runtime.hardware import devices

MAX_REASON_CHARACTERS = 300

# onnxruntime puts an error code, the path and a place in its source before the reason
_NOISE = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"^Load model from .*? failed: ?",
        r"^/\S+:\d+ .*?\) (?=[A-Z])",
    )
)
_MISSING_OPERATOR = (
    r"No Op registered|is not a registered function|Could not find an implementation|Custom Op"
)
_NEXT_STEPS = (
    (
        _MISSING_OPERATOR,
        "update onnxruntime, or register the operator's library with register_custom_ops(path)",
    ),
    (
        r"Unsupported model IR version|Opset \d+ is under development|max supported",
        "update onnxruntime",
    ),
    (r"Missing opset", "it may be cut short: copy it again"),
)
_MEMORY_WORDS = ("allocate memory", "memory of", "out of memory", "bad_alloc", "bad alloc")


@contextmanager
def translate_library_errors(
    kind: type[ConduitError], problem: str, reason: Callable[[Exception], str] = first_line
) -> Iterator[None]:
    """Raise any exception of the block as `kind` with the message `problem: reason`.

    The package's own errors pass unchanged. The block may hold any library's code: onnxruntime's
    exceptions have no common base, and zipfile, zlib and NumPy each have their own.
    """
    try:
        yield
    except ConduitError:
        raise
    except Exception as error:
        raise kind(f"{problem}: {reason(error)}") from error


def run_error(path: Path, device: str, error: Exception) -> ModelRunError:
    """Return the error of a run that failed on `device`."""
    return ModelRunError(f"{display(path)} failed on {device}: {run_reason(error)}")


def input_error(error: Exception, device: str) -> ModelInputError | None:
    """Return the error of a run that failed because of its input, or None for any other cause.

    The first case is a lone surrogate in a text. On the CPU a kernel's complaint about a value,
    such as an index out of range, is a RuntimeException.
    """
    state = devices.onnxruntime().capi.onnxruntime_pybind11_state
    refused: tuple[type[Exception], ...] = (UnicodeEncodeError, state.InvalidArgument)
    if device == "cpu" and not is_out_of_memory(error):
        refused = (*refused, state.RuntimeException)
    if isinstance(error, refused):
        return ModelInputError(f"the graph refused its input: {first_line(error)}")
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; onnxruntime has no exception of its own for it."""
    text = str(error).lower()
    return any(words in text for words in _MEMORY_WORDS)


def run_reason(error: Exception) -> str:
    """Return the reason for a failed run; if out of memory, with the size of the allocation."""
    if not is_out_of_memory(error):
        return first_line(error)
    asked = re.search(r"requested (?:bytes of|buffer of size) (\d+)", str(error))
    if asked is None:
        return "out of memory"
    return f"it requested {figures.size(int(asked[1]))} beyond its memory limit"


def load_reason(error: Exception) -> str:
    """Return the reason for a failed load without onnxruntime's codes, and the next step."""
    text = str(error).strip()
    for noise in _NOISE:
        text = noise.sub("", text, count=1)
    text = " ".join(text.split())[:MAX_REASON_CHARACTERS].rstrip(".; ")
    steps = (step for words, step in _NEXT_STEPS if re.search(words, text))
    return f"{text}; {next(steps, 'export it again')}"
