"""Tuning: the fastest options of a model file, stored beside it with its content and machine."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.files import write_atomic
from conduit_lab.core.paths import display
from conduit_lab.runtime.checks.content import files_digest
from conduit_lab.runtime.checks.graph import files
from conduit_lab.runtime.hardware import devices, machine
from conduit_lab.runtime.sessions.session import Options

_log = logging.getLogger("conduit_lab")

GRAPH_LEVELS = ("all", "extended", "basic", "disable")  # onnxruntime's default first
_MAX_FILE_BYTES = 64 * 2**10
_MAX_THREADS = 1024


@dataclass(frozen=True)
class Tuned:
    """The fastest options of a model on this machine.

    `asked` is the device it was tuned for, "auto" or a name; `device` is the one to open it with,
    and `runs_on` the one it then runs on. `threads` and `graph_level` are those of `Options`.
    Beyond `batch_size` rows, throughput no longer improves; None if that was not measured.
    """

    asked: str = "auto"
    device: str = "auto"
    runs_on: str = "cpu"
    threads: int = 0
    graph_level: str = "all"
    batch_size: int | None = None

    def options(self, given: Options) -> Options:
        """Return `given` with the tuned values, or unchanged if it names another device."""
        if given.device not in (self.asked, self.runs_on):
            return given
        tuned = replace(given, threads=self.threads, graph_level=self.graph_level)
        if given.device != self.asked or self.device == self.asked:
            return tuned
        return replace(tuned, device=self.device, fallback=given.may_fall_back)

    def __str__(self) -> str:
        parts = [self.runs_on]
        if self.runs_on != "numpy":
            plural = "s" * (self.threads != 1)
            threads = f"{self.threads} thread{plural}"
            parts.append(threads if self.threads else "onnxruntime's choice of threads")
            parts.append(f"graph level {self.graph_level}")
        if self.batch_size is not None:
            parts.append(f"batches of {self.batch_size}")
        return ", ".join(parts)


def tuning_path(path: Path) -> Path:
    """Return the tuning file of a model file: `topic.onnx.tuning.json` for `topic.onnx`."""
    return path.with_name(f"{path.name}.tuning.json")


def write_tuning(path: Path, tuned: Tuned) -> Path:
    """Write the options beside the model file, atomically; return the file's path."""
    target = tuning_path(path)
    content = {
        "model": files_digest(files(path)),
        "machine": machine_facts(path),
        "best": asdict(tuned),
    }
    write_atomic(target, json.dumps(content, indent=1) + "\n")
    return target


def read_tuning(path: Path) -> Tuned | None:
    """Return the options beside a model file, or None unless they match its content and machine.

    If a tuning file does not apply, the reason is logged.
    """
    source = tuning_path(path)
    if not source.is_file() or not path.is_file():  # opening the model reports a missing file
        return None
    tuned, problem = _read(source, path)
    if tuned is None:
        _log.warning("%s is not used: %s", display(source), problem)
    return tuned


def machine_facts(path: Path) -> dict[str, Any]:
    """Return the facts that tuned options depend on: processor, devices, library version."""
    if path.suffix == ".npz":
        return {"processor": machine.processor(), "numpy": np.__version__}
    return {
        "processor": machine.processor(),
        "devices": [device.name for device in devices.devices() if device.present],
        "onnxruntime": devices.onnxruntime().__version__,
    }


def _read(source: Path, path: Path) -> tuple[Tuned | None, str]:
    """Return the options, or None and the reason."""
    if source.stat().st_size > _MAX_FILE_BYTES:
        return None, "it is not a tuning file"
    try:
        content = json.loads(source.read_text("utf-8"))
        model, there, best = content["model"], content["machine"], Tuned(**content["best"])
        valid = _is_valid(best)
    except (ValueError, TypeError, KeyError, RecursionError):
        valid = False
    if not valid:
        return None, "it is not a tuning file; tune again"
    if model != files_digest(files(path)):
        return None, f"{display(path)} has changed since it was tuned; tune again"
    here = machine_facts(path)
    if there != here:
        other = there if isinstance(there, dict) else {}
        names = [name for name in here if other.get(name) != here[name]]
        changed = ", ".join(names) or "which had more"
        return None, f"it is from another machine ({changed}); tune again here"
    return best, ""


def _is_valid(best: Tuned) -> bool:
    """Return whether each field is valid: the file may come from anywhere."""
    size = best.batch_size
    return (
        all(isinstance(name, str) for name in (best.asked, best.device, best.runs_on))
        and type(best.threads) is int
        and 0 <= best.threads <= _MAX_THREADS
        and best.graph_level in GRAPH_LEVELS
        and (size is None or (type(size) is int and size >= 1))
    )
