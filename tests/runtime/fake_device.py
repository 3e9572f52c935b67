"""FakeDevice: a fake accelerator: onnxruntime's CPU session under another provider's name.

    gpu = fake_device.plug_in(monkeypatch)              # "cuda", two NVIDIA GPUs
    gpu = fake_device.plug_in(monkeypatch, "coreml")
    session = Session(path)                             # device "auto" finds it
    assert session.device == "cuda"

Set these at any time, also after a session was opened:

    gpu.max_rows = 100      a run with more rows (first axis of any input) runs out of memory
    gpu.lost = True         every run raises the error of a lost device
    gpu.error = Fail("…")   the exception that a failing run raises instead
    gpu.factor = 1.01       every float output is multiplied by this: a device with wrong results
    gpu.loads = False       a new session silently gets the CPU, as without CUDA's libraries
    gpu.takes = False       the device is assigned no node of any graph
    gpu.refuses = "…"       a new session raises RuntimeError with this text

And read these: `gpu.opened` (provider options of each session on the device), `gpu.runs` (runs
tried on the device), `gpu.failures` (those that raised). The monkeypatch undoes everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conduit_lab.runtime.hardware import devices, machine

CPU = devices.PROVIDERS["cpu"]


class FakeDevice:
    """The settings and counters of a fake accelerator."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.max_rows: int | None = None
        self.lost = False
        self.error: Exception | None = None
        self.factor = 1.0
        self.loads = True
        self.takes = True
        self.refuses = ""
        self.opened: list[dict[str, str]] = []
        self.runs = 0
        self.failures = 0

    def failure(self, feeds: Mapping[str, Any], options: Mapping[str, str]) -> Exception | None:
        """Return the error that a run raises, or None."""
        state = devices.onnxruntime().capi.onnxruntime_pybind11_state
        if self.lost:
            text = (
                "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 999: unknown error ; GPU=0 ; "
                "expr=cudaMemcpyAsync"
            )
            return self.error or state.Fail(text)
        arrays = [np.asarray(array) for array in feeds.values()]
        rows = max((array.shape[0] for array in arrays if array.ndim), default=0)
        needed = 64 * sum(array.nbytes for array in arrays)  # with intermediate results
        if (self.max_rows is not None and rows > self.max_rows) or needed > int(
            options.get("gpu_mem_limit", 2**60)
        ):
            text = (
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while "
                "running MatMul node. Status Message: Failed to allocate memory for requested "
                f"buffer of size {needed}"
            )
            return self.error or state.RuntimeException(text)
        return None


def plug_in(monkeypatch: pytest.MonkeyPatch, name: str = "cuda") -> FakeDevice:
    """Add a device of this name (one of `devices.PROVIDERS`) to the machine for one test."""
    ort = devices.onnxruntime()
    fake = FakeDevice(devices.PROVIDERS[name])
    real: Any = ort.InferenceSession

    class InferenceSession(real):  # type: ignore[misc]
        def __init__(
            self, path: Any, sess_options: Any = None, providers: Any = (), **named: Any
        ) -> None:
            given = {
                p[0]: p[1] for p in ((p, {}) if isinstance(p, str) else p for p in providers or ())
            }
            options = given.pop(fake.provider, None)
            if options is not None and fake.refuses:
                raise RuntimeError(fake.refuses)
            super().__init__(
                path, sess_options, providers=list(given.items()) or [(CPU, {})], **named
            )
            self.fake_options: dict[str, str] | None = options if fake.loads else None
            if self.fake_options is not None:
                fake.opened.append(self.fake_options)

        def get_providers(self) -> Sequence[str]:
            there: list[str] = super().get_providers()
            return [fake.provider, *there] if self.fake_options is not None else there

        def get_provider_graph_assignment_info(self) -> Sequence[Any]:
            groups: list[Any] = super().get_provider_graph_assignment_info()
            if self.fake_options is None or not fake.takes:
                return groups
            return [
                SimpleNamespace(ep_name=fake.provider, get_nodes=group.get_nodes)
                for group in groups
            ]

        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> list[Any]:
            if self.fake_options is None:
                return list(super().run(output_names, input_feed, run_options))
            fake.runs += 1
            failure = fake.failure(input_feed, self.fake_options)
            if failure is not None:
                fake.failures += 1
                raise failure
            outputs = super().run(output_names, input_feed, run_options)
            return [o * o.dtype.type(fake.factor) if o.dtype.kind == "f" else o for o in outputs]

    gpus = (
        machine.Gpu("Fake GPU 0", 80 * 2**30, "550.54"),
        machine.Gpu("Fake GPU 1", 24 * 2**30, "550.54"),
    )
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: gpus)
    for problem in ("cuda_problem", "tensorrt_problem", "amd_problem"):
        monkeypatch.setattr(machine, problem, lambda *_: "")
    monkeypatch.setattr(ort, "InferenceSession", InferenceSession)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [fake.provider, CPU])
    return fake
