"""AcceleratorReport: the results of an accelerator check, in the form used in `docs/gpu.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.runtime.hardware.devices import Device

# of the CPU's largest output: devices may compute float32 with float16's mantissa (TF32)
MAX_RELATIVE_DIFFERENCE = 0.01


@dataclass(frozen=True)
class Agreement:
    """The largest difference between the outputs of device and CPU, relative to the CPU's largest.

    `nodes` is the number of the graph's nodes on the device and in total; None before onnxruntime
    1.24.
    """

    model: str
    difference: float
    nodes: tuple[int, int] | None = None

    @property
    def good(self) -> bool:
        """Whether the difference is within `MAX_RELATIVE_DIFFERENCE`; NaN is not."""
        return self.difference <= MAX_RELATIVE_DIFFERENCE

    @property
    def left(self) -> bool:
        """Whether the device ran no node, in which case the CPU was compared with itself."""
        return self.nodes is not None and self.nodes[0] == 0


@dataclass(frozen=True)
class Speed:
    """Median seconds of a call on the CPU and on the device, including copies to and from it."""

    model: str
    batch: int
    cpu: float
    device: float | None = None


@dataclass
class DeviceCheck:
    """The results for one device, which can be trusted if there are no `problems`."""

    device: Device
    agreements: list[Agreement] = field(default_factory=list)
    speeds: list[Speed] = field(default_factory=list)
    memory: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """The networks of which the device ran no node, so the check proves nothing about them."""
        return [agreement.model for agreement in self.agreements if agreement.left]

    def view(self) -> View:
        """Return the view of these results."""
        name, left = self.device.name, ", ".join(self.left)
        lines = [f"memory: {self.memory}"] if self.memory else []
        lines += [f"✕ {problem}" for problem in self.problems]
        if not self.problems:
            rest = f"; it left {left} to the CPU" if left else ""
            lines.append(f"{name}: everything holds{rest}.")
        tables = [_agreement_table(self.agreements), _speed_table(name, self.speeds)]
        return View(name, facts=[self.device.reason], tables=tables, text="\n".join(lines))


@dataclass(repr=False)
class AcceleratorReport(Viewed):
    """The machine, the date, and the results for each accelerator.

    On a machine without an accelerator, `cpu` holds the CPU's own times.
    """

    date: str
    facts: dict[str, str]
    checked: list[DeviceCheck]
    cpu: list[Speed]

    @property
    def good(self) -> bool:
        """Whether every accelerator passed; True on a machine without one."""
        return not any(checked.problems for checked in self.checked)

    def _view(self) -> View:
        tables = [Table(("date", self.date), list(self.facts.items()))]
        if self.checked:
            children = [checked.view() for checked in self.checked]
            return View("Accelerators", tables=tables, children=children)
        tables.append(_speed_table("cpu", self.cpu))
        text = "No accelerator here: none was checked."
        return View("Accelerators", tables=tables, text=text)


def _agreement_table(agreements: Sequence[Agreement]) -> Table:
    rows = []
    for a in agreements:
        nodes = f"{a.nodes[0]} of {a.nodes[1]}" if a.nodes else "unknown"
        mark = "–" if a.left else "✓" if a.good else "✕"
        limit = f"{MAX_RELATIVE_DIFFERENCE:.0e}"
        rows.append((a.model, nodes, f"{a.difference:.1e}", limit, mark))
    numeric = ("nodes on it", "difference", "tolerance")
    return Table(("numbers", *numeric, ""), rows, numeric)


def _speed_table(device: str, speeds: Sequence[Speed]) -> Table:
    """Return the table of times, with the speed-up if there is a device."""
    if device == "cpu":
        alone = [(s.model, s.batch, figures.seconds(s.cpu)) for s in speeds]
        return Table(("a call", "batch", "cpu"), alone, ("batch", "cpu"))
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
    numeric = ("batch", "cpu", device, "speed-up")
    return Table(("a call", *numeric), rows, numeric)
