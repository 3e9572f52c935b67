"""Probe: check accelerators for equal outputs, speed, and the CPU fallback when memory is full."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from conduit_lab.core.progress import STEP, counted, progress
from conduit_lab.core.spec import Array
from conduit_lab.core.text import first_line
from conduit_lab.core.version import __version__
from conduit_lab.core.views import figures
from conduit_lab.runtime.hardware import machine
from conduit_lab.runtime.hardware.devices import (
    Device,
    can_limit_memory,
    devices,
    memory_limit,
    onnxruntime,
    providers_for,
)
from conduit_lab.runtime.measuring import samples
from conduit_lab.runtime.measuring.report import (
    MAX_RELATIVE_DIFFERENCE,
    AcceleratorReport,
    Agreement,
    DeviceCheck,
    Speed,
)
from conduit_lab.runtime.measuring.timing import PAUSE_SECONDS, measure, median_seconds
from conduit_lab.runtime.sessions.session import Options, Session

PROBE_BATCH_SIZES = (1, 8, 64, 256)
MEASURE_SECONDS = 0.4  # per network and batch size
_MEMORY_LIMIT_BYTES = 128 * 2**20
_OVERFLOW_ROWS = 32_768  # of the outer product, whose intermediate result then takes 512 MB


def check_accelerators(
    batches: Sequence[int] = PROBE_BATCH_SIZES, seconds: float = MEASURE_SECONDS
) -> AcceleratorReport:
    """Check every accelerator that `devices()` reports as present, against this machine's CPU.

    Three generated networks (dense, convolution, attention) must give the CPU's outputs. They are
    timed in turn with the CPU for each of `batches`, `seconds` each. A run that exceeds the device
    memory must fall back to the CPU, and the next run must use the device again. Raises
    `MissingExtra` without onnxruntime.
    """
    ort = onnxruntime()
    present = [device for device in devices() if device.present and device.name != "cpu"]
    built_for = f" for CUDA {ort.cuda_version}" if getattr(ort, "cuda_version", "") else ""
    facts = {
        "machine": f"{machine.processor()}, {platform.system()} {platform.machine()}",
        "software": f"conduit_lab {__version__}, onnxruntime {ort.__version__}{built_for}, "
        f"Python {platform.python_version()}",
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = samples.save_all(Path(folder))
        with progress(max(1, len(present)), STEP, "check accelerators"):
            given = counted(present, STEP)
            checked = [_check(device, paths, batches, seconds) for device in given]
            cpu = [] if checked else list(_speeds(paths, None, batches, seconds))
    return AcceleratorReport(f"{datetime.now(UTC):%Y-%m-%d}", facts, checked, cpu)


def _check(
    device: Device, paths: dict[str, Path], batches: Sequence[int], seconds: float
) -> DeviceCheck:
    checked = DeviceCheck(device)
    try:
        for name in samples.NETWORKS:
            feeds = {"input": samples.sample(name, max(batches))}
            places = ("cpu", device.name)
            expected, got = (_open(paths[name], place).run(feeds)[0] for place in places)
            checked.agreements.append(
                Agreement(name, _difference(got, expected), _nodes(device, paths[name]))
            )
        wrong = [agreement.model for agreement in checked.agreements if not agreement.good]
        if wrong:
            checked.problems.append(
                f"{device.name} computes different numbers from the CPU: {', '.join(wrong)}"
            )
        if checked.left == list(samples.NETWORKS):
            checked.problems.append(f"{device.name} ran no node of any network")
        checked.memory, problem = _overflow(device, paths["outer"])
        if problem:
            checked.problems.append(problem)
        checked.speeds.extend(
            s for s in _speeds(paths, device, batches, seconds) if s.model not in checked.left
        )
    except Exception as error:  # report any failure of a device
        checked.problems.append(first_line(error))
    return checked


def _open(path: Path, device: str, fallback: bool = False) -> Session:
    return Session(path, Options(device=device, fallback=fallback))


def _nodes(device: Device, path: Path) -> tuple[int, int] | None:
    """Return the number of the graph's nodes on the device and in total; None if unknown."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(
        str(path), options, providers=providers_for(device.name), enable_fallback=0
    )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    groups = [
        (group.ep_name, len(group.get_nodes()))
        for group in session.get_provider_graph_assignment_info()
    ]
    on_device = sum(nodes for name, nodes in groups if name != "CPUExecutionProvider")
    return on_device, sum(nodes for _, nodes in groups)


def _difference(got: Array, expected: Array) -> float:
    """Return the largest difference relative to the largest expected value; inf if shapes vary."""
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def _overflow(device: Device, path: Path) -> tuple[str, str]:
    """Run out of device memory, then run within it; return the observation and the problem."""
    name = device.name
    if not can_limit_memory(name):
        return f"not filled: {name} takes no limit", ""
    with memory_limit(_MEMORY_LIMIT_BYTES):
        session = _open(path, name, fallback=True)
    reference = _open(path, "cpu")

    def is_right(rows: int) -> bool:
        feeds = {"input": samples.sample("outer", rows)}
        difference = _difference(session.run(feeds)[0], reference.run(feeds)[0])
        return difference <= MAX_RELATIVE_DIFFERENCE

    size = figures.size(_OVERFLOW_ROWS * samples.OUTER_BYTES)
    run = f"a run of {size} in {figures.size(_MEMORY_LIMIT_BYTES)}"
    with _quiet():
        by_cpu = is_right(_OVERFLOW_ROWS)
    if not session.fallbacks:
        return "", f"{run} did not fill the memory"
    if not by_cpu:
        return "", f"{run} got a wrong answer from the CPU"
    note = session.note
    with _quiet():
        by_device = is_right(8)
    if session.fallbacks > 1 or session.device != name:
        return "", f"{run} went to the CPU ({note}), and so did the next one ({session.note})"
    return (
        f"{run} went to the CPU ({note}), the next to {name} again",
        "" if by_device else f"after that {name} is wrong",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warning of a fallback, which the report already contains."""
    log = logging.getLogger("conduit_lab")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _speeds(
    paths: dict[str, Path], device: Device | None, batches: Sequence[int], seconds: float
) -> Iterator[Speed]:
    for name in samples.NETWORKS:
        places = ["cpu", device.name] if device else ["cpu"]
        sessions = [_open(paths[name], place) for place in places]
        for batch in batches:
            feeds = {"input": samples.sample(name, batch)}
            calls = [partial(session.run, feeds) for session in sessions]
            turns = measure(calls, seconds, pause=PAUSE_SECONDS)
            yield Speed(name, batch, *map(median_seconds, turns))
