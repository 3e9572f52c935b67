"""Child: conversions, and first loads of unknown graphs, in a child process.

If onnxruntime crashes or memory runs out, only the child ends, and the parent raises an error.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import errors
from conduit_lab.core.errors import ConduitError, ModelLoadError, OptimizeError
from conduit_lab.core.paths import current_root, display, use_root
from conduit_lab.runtime.rewriting import derived_files, quantize
from conduit_lab.runtime.rewriting.quantize import InputArrays
from conduit_lab.runtime.sessions import session
from conduit_lab.runtime.sessions.session import Options, Session, register_custom_ops

_ENTRY = "from conduit_lab.runtime.rewriting.child import run_request; run_request()"


def try_opening(path: Path, options: Options) -> None:
    """Open a model file once in a child; raise `ModelLoadError` if that crashes the child.

    A file that onnxruntime rejects raises no error here: opening it later reports the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        problem, _ = _ask(Path(folder), {"source": str(path), "options": asdict(options)})
    if problem:
        raise ModelLoadError(
            f"{display(path)} cannot be loaded: it {problem}; export it in another way"
        )


def convert_in_child(
    source: Path,
    target: Path,
    kind: str,
    options: Options,
    scales: Sequence[InputArrays] | None,
    sample: InputArrays,
) -> None:
    """Convert a file by `quantize.convert`, open the result and run it on `sample`, in a child.

    Raises the errors of each step, and `OptimizeError` if a step crashes the child.
    """
    request: dict[str, Any] = {"source": str(source), "kind": kind, "options": asdict(options)}
    with derived_files.draft(target) as path:  # a crashed child leaves nothing behind
        request["target"] = str(path)
        request["sample"] = _save(path.with_name("sample.npz"), [sample])
        request["scales"] = None if scales is None else _save(path.with_name("scales.npz"), scales)
        problem, error = _ask(path.parent, request)
        if error is not None:
            raise error
        if problem:
            raise OptimizeError(
                f"{display(source)} cannot be converted to {kind}: it {problem}; no file was kept"
            )


def _ask(folder: Path, request: dict[str, Any]) -> tuple[str, ConduitError | None]:
    """Run the request in a child; return how the child crashed, if it did, and its error."""
    request |= {"root": str(current_root()), "libraries": session._custom_ops}
    (folder / "request.json").write_text(json.dumps(request), "utf-8")
    paths = os.pathsep.join(str(entry) for entry in sys.path if entry)
    environ = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": paths}
    # the caller removes the folder, and with it the temporary files of a child that was killed
    environ |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    command = [sys.executable, "-P", "-W", "ignore", "-c", _ENTRY, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environ
    ) as done:
        try:
            output, errors_output = (text.decode("utf-8", "replace") for text in done.communicate())
        except BaseException:  # an interrupt ends the child too
            done.kill()
            done.wait()
            raise
    step = (output.split() or ["started"])[-1]
    if done.returncode > 0 and os.name != "nt":  # not a ConduitError
        words = (errors_output.strip() or "without a message").splitlines()[-1]
        return f"failed when it was {step} ({words[:200]})", None
    if done.returncode:
        return f"ended the process in which it was {step} ({_signal(done.returncode)})", None
    answer = json.loads((folder / "answer.json").read_text("utf-8"))
    return "", _error(**answer) if answer else None


def _signal(status: int) -> str:
    """Return the name of the signal that ended a process."""
    if status > 0:
        return f"exit status {status:#x}"
    with suppress(ValueError):
        name = signal.Signals(-status).name
        return f"{name}, sent by the system when memory runs out" if name == "SIGKILL" else name
    return f"signal {-status}"


def _error(name: str, message: str) -> ConduitError:
    """Return the error that a child raised."""
    kind: type[ConduitError] = getattr(errors, name, OptimizeError)
    error = kind.__new__(kind)  # the constructor may require other arguments than a message
    error.args = (message,)
    return error


def _save(path: Path, feeds: Sequence[InputArrays]) -> list[list[str]]:
    """Write input arrays to a file without pickled objects; return their names."""
    arrays: dict[str, Any] = {
        f"{i}.{j}": array.astype(str) if array.dtype.kind == "O" else array
        for i, piece in enumerate(feeds)
        for j, array in enumerate(piece.values())
    }
    np.savez(path, **arrays)
    return [list(piece) for piece in feeds]


def _load(path: Path, names: Sequence[Sequence[str]]) -> list[InputArrays]:
    """Return the input arrays written by `_save`."""
    with np.load(path, allow_pickle=False) as arrays:
        held = {
            key: arrays[key].astype(object) if arrays[key].dtype.kind == "U" else arrays[key]
            for key in arrays
        }
    return [
        {name: held[f"{i}.{j}"] for j, name in enumerate(piece)} for i, piece in enumerate(names)
    ]


# In the child


def run_request() -> None:
    """Run the request in the folder, print each step, and write the result beside it."""
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text("utf-8"))
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dump of a model's memory
    answer = {}
    with use_root(Path(request["root"])):
        try:
            _do(folder, request)
        except ConduitError as error:
            answer = {"name": type(error).__name__, "message": str(error)}
    (folder / "answer.json").write_text(json.dumps(answer), "utf-8")


def _do(folder: Path, request: dict[str, Any]) -> None:
    for library in request["libraries"]:
        register_custom_ops(library)
    path, options = Path(request["source"]), Options(**request["options"])
    if "kind" not in request:
        _print_step("opened")
        Session(path, options)
        return
    _print_step("converted")
    scales = None if request["scales"] is None else _load(folder / "scales.npz", request["scales"])
    quantize.convert(path, Path(request["target"]), request["kind"], scales)
    _print_step("opened")
    converted = Session(Path(request["target"]), options)
    _print_step("run")
    converted.run(_load(folder / "sample.npz", request["sample"])[0])


def _print_step(step: str) -> None:
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()
