"""Tuning: the choice that `tune` found for a model file, kept beside it, valid for that content on that machine."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.paths import display
from conduit_lab.runtime.checks.content import digest
from conduit_lab.runtime.checks.graph import files
from conduit_lab.runtime.hardware import devices, machine
from conduit_lab.runtime.sessions.session import Options

log = logging.getLogger("conduit_lab")

LEVELS = ("all", "extended", "basic", "disable")  # of Options.graph_level, onnxruntime's own first
_MAX_BYTES = 64 * 2**10
_MAX_THREADS = 1024


@dataclass(frozen=True)
class Tuned:
    """How a model runs best on this machine.

    `asked` is the device it was tuned for, "auto" or a name; `device` what to open it with for
    that, and `runs_on` where it then runs. `threads` and `graph_level` are those of `Options`;
    `batch_size` is the rows of a run beyond which more samples a second are not to be had, None
    where that was not measured.
    """

    asked: str = "auto"
    device: str = "auto"
    runs_on: str = "cpu"
    threads: int = 0
    graph_level: str = "all"
    batch_size: int | None = None

    def options(self, wanted: Options) -> Options:
        """Return `wanted` with the choice applied; as it is where it asks for another device."""
        if wanted.device not in (self.asked, self.runs_on):
            return wanted
        tuned = replace(wanted, threads=self.threads, graph_level=self.graph_level)
        if wanted.device != self.asked or self.device == self.asked:
            return tuned
        return replace(tuned, device=self.device, fallback=wanted.may_fall_back)

    def __str__(self) -> str:
        threads = (
            "onnxruntime's choice of threads"
            if self.threads == 0
            else _count(self.threads, "thread")
        )
        how = (
            [self.runs_on, threads, f"graph level {self.graph_level}"]
            if self.runs_on != "numpy"
            else ["numpy"]
        )
        return ", ".join(
            how if self.batch_size is None else [*how, f"batches of {self.batch_size}"]
        )


def place(path: Path) -> Path:
    """Return where the choice for a model file is kept: `topic.onnx.tuning.json` for `topic.onnx`."""
    return path.with_name(f"{path.name}.tuning.json")


def write_tuning(path: Path, tuned: Tuned) -> Path:
    """Keep the choice beside the model file, whole or not at all, and return where."""
    target = place(path)
    content = {"model": digest(files(path)), "machine": machine_facts(path), "best": asdict(tuned)}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        draft = Path(scratch) / target.name
        draft.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        draft.replace(target)
    return target


def read_tuning(path: Path) -> Tuned | None:
    """Return the choice kept beside a model file, or None where there is none for this content on
    this machine.

    Where one is there and is not used, one line of the log says why.
    """
    source = place(path)
    if not source.is_file() or not path.is_file():  # opening the model says what is missing
        return None
    tuned, problem = _read(source, path)
    if tuned is None:
        log.warning("%s is not used: %s", display(source), problem)
    return tuned


def machine_facts(path: Path) -> dict[str, Any]:
    """Return what a choice for the model file depends on: the processor and its cores, the devices, the library."""
    if path.suffix == ".npz":
        return {"processor": machine.processor(), "numpy": np.__version__}
    here = [device.name for device in devices.devices() if device.present]
    return {
        "processor": machine.processor(),
        "devices": here,
        "onnxruntime": devices.onnxruntime().__version__,
    }


def _read(source: Path, path: Path) -> tuple[Tuned | None, str]:
    """Return the choice, or None and the reason."""
    if source.stat().st_size > _MAX_BYTES:
        return None, "it is no tuning file"
    try:
        content = json.loads(source.read_text("utf-8"))
        model, there, best = content["model"], content["machine"], Tuned(**content["best"])
        valid = _is_valid(best)
    except (ValueError, TypeError, KeyError, RecursionError):
        valid = False
    if not valid:
        return None, "it is no tuning file; tune again"
    if model != digest(files(path)):
        return None, f"{display(path)} has changed since it was tuned; tune again"
    here = machine_facts(path)
    if there != here:
        changed = [
            name for name in here if not isinstance(there, dict) or there.get(name) != here[name]
        ]
        return (
            None,
            f"it was made on another machine ({', '.join(changed) or 'which had more'}); tune again here",
        )
    return best, ""


def _is_valid(best: Tuned) -> bool:
    """Tell whether each field is what it should be: the file may come from anywhere."""
    size = best.batch_size
    return (
        all(isinstance(name, str) for name in (best.asked, best.device, best.runs_on))
        and type(best.threads) is int
        and 0 <= best.threads <= _MAX_THREADS
        and best.graph_level in LEVELS
        and (size is None or (type(size) is int and size >= 1))
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
