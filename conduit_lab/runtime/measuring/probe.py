"""The check of an accelerator: equal numbers, the speed-up, and the CPU as a net when its memory is full."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from conduit_lab.core.version import __version__
from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures, html
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
from conduit_lab.runtime.measuring.timing import CALM, measure, middle
from conduit_lab.runtime.sessions.session import Options, Session

# of the largest output of the CPU: devices may compute float32 with the mantissa of float16 (TF32)
TOLERANCE = 0.01
BATCHES = (1, 8, 64, 256)
SECONDS = 0.4  # for each network and batch size
_LIMIT = 128 * 2**20  # bytes of device memory in the test of a full one
_TOO_MANY = 32_768  # rows of the outer product: 512 MB on the way


@dataclass(frozen=True)
class Numbers:
    """How far the device's answer is from the CPU's, as a share of the largest output of the CPU.

    `nodes` are those of the graph that onnxruntime gave to the device, and all; None where it does
    not tell (< 1.24).
    """

    model: str
    difference: float
    nodes: tuple[int, int] | None = None

    @property
    def good(self) -> bool:
        """Whether the difference is within `TOLERANCE`; one that is not a number is not."""
        return self.difference <= TOLERANCE

    @property
    def left(self) -> bool:
        """Whether the device took no part in it, so that the CPU was compared with itself."""
        return self.nodes is not None and self.nodes[0] == 0


@dataclass(frozen=True)
class Speed:
    """Seconds of a whole call, copies to and from the device included; without a device only the CPU's."""

    model: str
    batch: int
    cpu: float
    device: float | None = None


@dataclass
class Checked:
    """What was found out about one device: one without `problems` may be trusted."""

    device: Device
    numbers: list[Numbers] = field(default_factory=list)
    speeds: list[Speed] = field(default_factory=list)
    memory: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """The networks that the device left to the CPU: nothing is proved of them."""
        return [numbers.model for numbers in self.numbers if numbers.left]


@dataclass
class Report:
    """The report that `docs/gpu.md` keeps: the machine, the date, and what each accelerator did.

    `good` is False where one of them failed. On a machine without any, `cpu` holds the CPU's own
    times.
    """

    date: str
    facts: dict[str, str]
    checked: list[Checked]
    cpu: list[Speed]

    @property
    def good(self) -> bool:
        """Whether every accelerator that is here passed; True where there is none."""
        return not any(checked.problems for checked in self.checked)

    def __repr__(self) -> str:
        facts = {"date": self.date, **self.facts}
        parts = ["\n".join(f"{name:<12}{value}" for name, value in facts.items())]
        parts += [_section(checked) for checked in self.checked]
        if not self.checked:
            parts += [_speeds("cpu", self.cpu), "No accelerator here: nothing is proved about one."]
        elif self.good:
            parts += [_verdict(checked) for checked in self.checked]
        return "\n\n".join(parts)


def check(batches: Sequence[int] = BATCHES, seconds: float = SECONDS) -> Report:
    """Check every accelerator that `devices()` says is present, against the CPU of this machine.

    Three made networks (dense, convolution, attention) must give the CPU's numbers; they are timed
    in turn with the CPU for each of `batches`, for so many `seconds` each; and a run that does not
    fit the device's memory must be answered by the CPU, the next one by the device again. Raises
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
        checked = [_check(device, paths, batches, seconds) for device in present]
        cpu = [] if checked else list(_times(paths, None, batches, seconds))
    return Report(f"{datetime.now(UTC):%Y-%m-%d}", facts, checked, cpu)


def _check(
    device: Device, paths: dict[str, Path], batches: Sequence[int], seconds: float
) -> Checked:
    checked = Checked(device)
    try:
        for name in samples.NETWORKS:
            feeds = {"input": samples.sample(name, max(batches))}
            wanted, got = (
                _open(paths[name], where).run(feeds)[0] for where in ("cpu", device.name)
            )
            checked.numbers.append(
                Numbers(name, _difference(got, wanted), _nodes(device, paths[name]))
            )
        wrong = [numbers.model for numbers in checked.numbers if not numbers.good]
        if wrong:
            checked.problems.append(
                f"{device.name} computes other numbers than the CPU: {', '.join(wrong)}"
            )
        if checked.left == list(samples.NETWORKS):
            checked.problems.append(f"{device.name} took no node of any network")
        checked.memory, problem = _fill(device, paths["outer"])
        if problem:
            checked.problems.append(problem)
        checked.speeds.extend(
            s for s in _times(paths, device, batches, seconds) if s.model not in checked.left
        )
    except Exception as error:  # whatever a device does, the report tells it
        checked.problems.append(str(error).strip().partition("\n")[0] or type(error).__name__)
    return checked


def _open(path: Path, device: str, fallback: bool = False) -> Session:
    return Session(path, Options(device=device, fallback=fallback))


def _nodes(device: Device, path: Path) -> tuple[int, int] | None:
    """Return how many of the graph's nodes are on the device, and how many there are; None where it is not told."""
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
    return sum(nodes for name, nodes in groups if name != "CPUExecutionProvider"), sum(
        nodes for _, nodes in groups
    )


def _difference(got: Array, wanted: Array) -> float:
    """Return the largest difference as a share of the largest wanted value; infinite where the shapes differ."""
    if got.shape != wanted.shape:
        return float("inf")
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def _fill(device: Device, path: Path) -> tuple[str, str]:
    """Ask for more memory than the device may give, and then for little; return what was seen, and what was wrong."""
    name = device.name
    if not can_limit_memory(name):
        return f"not filled: {name} takes no limit", ""
    with memory_limit(_LIMIT):
        session = _open(path, name, fallback=True)
    reference = _open(path, "cpu")

    def right(rows: int) -> bool:
        feeds = {"input": samples.sample("outer", rows)}
        return _difference(session.run(feeds)[0], reference.run(feeds)[0]) <= TOLERANCE

    asked = figures.size(_TOO_MANY * samples.OUTER_BYTES)
    seen = f"a run of {asked} in {figures.size(_LIMIT)}"
    with _quiet():
        by_cpu = right(_TOO_MANY)
    if not session.fallbacks:
        return "", f"{seen} did not fill the memory"
    if not by_cpu:
        return "", f"{seen} was answered wrongly by the CPU"
    note = session.note
    with _quiet():
        by_device = right(8)
    if session.fallbacks > 1 or session.device != name:
        return "", f"{seen} went to the CPU ({note}), and so did the next one ({session.note})"
    return (
        f"{seen} went to the CPU ({note}), the next to {name} again",
        "" if by_device else f"after that {name} is wrong",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warning of a fallback out of the report, which tells the same."""
    log = logging.getLogger("conduit_lab")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _times(
    paths: dict[str, Path], device: Device | None, batches: Sequence[int], seconds: float
) -> Iterator[Speed]:
    for name in samples.NETWORKS:
        sessions = [
            _open(paths[name], "cpu"),
            *([_open(paths[name], device.name)] if device else ()),
        ]
        for batch in batches:
            feeds = {"input": samples.sample(name, batch)}
            turns = measure(
                [partial(session.run, feeds) for session in sessions], seconds, calm=CALM
            )
            yield Speed(name, batch, *map(middle, turns))


def _section(checked: Checked) -> str:
    """Return the text about one device."""
    name = checked.device.name
    parts = [f"{name}: {checked.device.reason}"]
    if checked.numbers:
        columns = ("numbers", "nodes on it", "difference", "tolerance", "")
        rows = [_number_cells(numbers) for numbers in checked.numbers]
        parts.append(html.columns(columns, rows, ("nodes on it", "difference", "tolerance")))
    if checked.speeds:
        parts.append(_speeds(name, checked.speeds))
    if checked.memory:
        parts.append(f"memory: {checked.memory}")
    parts += [f"✕ {problem}" for problem in checked.problems]
    return "\n\n".join(parts)


def _verdict(checked: Checked) -> str:
    left = f"; it left {', '.join(checked.left)} to the CPU" if checked.left else ""
    return f"{checked.device.name}: everything holds{left}."


def _number_cells(numbers: Numbers) -> tuple[str, ...]:
    nodes = f"{numbers.nodes[0]} of {numbers.nodes[1]}" if numbers.nodes else "not told"
    mark = "–" if numbers.left else "✓" if numbers.good else "✕"
    return numbers.model, nodes, f"{numbers.difference:.1e}", f"{TOLERANCE:.0e}", mark


def _speeds(name: str, speeds: Sequence[Speed]) -> str:
    """Return the table of times, with the speed-up where there is a device."""
    if name == "cpu":
        alone = [(s.model, s.batch, figures.seconds(s.cpu)) for s in speeds]
        return html.columns(("a call", "batch", "cpu"), alone, ("batch", "cpu"))
    rows = [
        (
            s.model,
            s.batch,
            figures.seconds(s.cpu),
            figures.seconds(s.device),
            f"× {s.cpu / s.device:.2f}",
        )
        for s in speeds
        if s.device
    ]
    return html.columns(
        ("a call", "batch", "cpu", name, "speed-up"), rows, ("batch", "cpu", name, "speed-up")
    )
