"""DeviceTensor: an array that stays in the memory of the device that computed it."""

from __future__ import annotations

from typing import Any

import numpy as np

from conduit_lab.core.spec import Array


class DeviceTensor:
    """One output in a device's memory, for the next model there; NumPy gets a copy on demand.

    `value` is onnxruntime's OrtValue. `single` marks a single row that is one sample, `copied` a
    tensor with a copy in host memory.
    """

    def __init__(self, value: Any, single: bool = False) -> None:
        self.value = value
        self.single = single
        self.shape: tuple[int, ...] = tuple(value.shape())
        self.ndim = len(self.shape)
        self._array: Array | None = None

    @property
    def copied(self) -> bool:
        """Whether host memory holds a copy."""
        return self._array is not None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self._array is None:
            self._array = self.value.numpy()
        return np.array(self._array, dtype, copy=copy)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<DeviceTensor {list(self.shape)} on {self.value.device_name()}>"
