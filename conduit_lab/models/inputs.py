"""Inputs: convert arrays, lists, dicts and DataFrames to the arrays that a graph takes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.frames import is_frame
from conduit_lab.core.spec import Array, TensorSpec, describe
from conduit_lab.core.views import figures
from conduit_lab.runtime.rewriting.dummy_inputs import example
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.session import dtype_of, native
from conduit_lab.runtime.sessions.tensor import DeviceTensor

_FLOAT32 = np.dtype(np.float32)
# `struct` packs a list in a quarter of NumPy's time; with "=" it rejects numbers that float32
# cannot hold
_PACKED = (float, int)
_LISTS = frozenset({list})
_NUMBERS = {str(np.dtype(code)) for code in "?bhilqBHILQefd"}


class Feeds(NamedTuple):
    """Arrays by input name, with batch axes; their number of rows; whether they are one sample."""

    arrays: dict[str, Any]
    rows: int
    single: bool


class Inputs:
    """The inputs of one model, called `name` in errors; `layout` describes their batch axes.

    A fixed batch axis accepts any multiple of its rows. If there is one numeric input, called
    `only`, whose samples have a fixed shape, then an array of dtype `exact` and shape `sample`, or
    rows of them, needs no other check. `exact` is None for all other models.
    """

    def __init__(
        self, name: str, specs: tuple[TensorSpec, ...], layout: Layout | None = None
    ) -> None:
        self.name = name
        self.specs = specs
        self.layout = layout or Layout.of_specs(specs, ())
        self.only = ""
        self.sample: tuple[int | str, ...] = ()
        self.exact: np.dtype[Any] | None = None
        self._pack: Callable[..., bytes] | None = None  # one sample of float32
        if self.layout.inputs == (0,) and not self.layout.size and specs[0].dtype in _NUMBERS:
            self.sample = specs[0].shape[1:]
            if all(isinstance(axis, int) for axis in self.sample):
                self.only, self.exact = specs[0].name, dtype_of(specs[0])
                if self.exact is _FLOAT32 and len(self.sample) == 1:
                    self._pack = struct.Struct(f"={self.sample[0]}f").pack

    def feeds(self, value: Any) -> Feeds:
        """Return the arrays for one sample or a batch; raise `ModelInputError` if invalid."""
        if type(value) is np.ndarray and value.dtype is self.exact:
            shape = value.shape
            if shape == self.sample:
                return Feeds({self.only: value[None]}, 1, True)
            if shape[1:] == self.sample:
                return Feeds({self.only: value}, shape[0], False)
        elif type(value) is list and value and self._pack is not None:
            first = type(value[0])
            try:
                if first in _PACKED:
                    packed = self._pack(*value)
                    return Feeds({self.only: np.frombuffer(packed, _FLOAT32)[None]}, 1, True)
                if first is list and _LISTS.issuperset(map(type, value)):
                    pack = self._pack
                    packed = b"".join([pack(*row) for row in value])
                    rows = np.frombuffer(packed, _FLOAT32).reshape(len(value), -1)
                    return Feeds({self.only: rows}, len(value), False)
            except (struct.error, OverflowError, TypeError):
                pass  # only the full check can decide, and name the problem
        if (
            isinstance(value, DeviceTensor)
            and self.layout.inputs == (0,)
            and self.specs[0].fits(value.shape)
        ):
            # onnxruntime checks its dtype
            return Feeds({self.specs[0].name: value}, len(value), value.single)
        return self._checked(value)

    def _checked(self, value: Any) -> Feeds:
        arrays: dict[str, Array] = {}
        counts: list[int] = []
        single = False
        for spec, axis, item in zip(
            self.specs, self.layout.inputs, self._given(value), strict=True
        ):
            array, is_sample = self._with_rows(spec, axis, self.array(spec, item))
            arrays[spec.name] = array
            single = single or is_sample
            if axis is not None:
                counts.append(array.shape[axis])
        if len(set(counts)) > 1 and self.layout.together:
            got = ", ".join(f"{name} {describe(array)}" for name, array in arrays.items())
            raise ModelInputError(f"{self.name!r} expects inputs of one batch size, got {got}")
        return Feeds(arrays, counts[0] if counts else 1, single)

    def _with_rows(self, spec: TensorSpec, axis: int | None, array: Array) -> tuple[Array, bool]:
        """Return an array with its batch axis, and whether that was missing, as for one sample."""
        size, shape = self.layout.size, array.shape
        place = 0 if axis is None and spec.shape[:1] == (1,) else axis
        if (
            place is not None
            and size <= 1
            and not spec.fits(shape)
            and spec.fits((*shape[:place], 1, *shape[place:]))
        ):
            return np.expand_dims(array, place), axis is not None
        if size and axis is not None and len(shape) > axis and shape[axis] % size == 0:
            shape = (*shape[:axis], size, *shape[axis + 1 :])
        if spec.fits(shape):
            return array, False
        raise ModelInputError(f"{self.name!r} expects {spec.name} {spec}, got {describe(array)}")

    def _given(self, value: Any) -> list[Any]:
        """Return one value for each input."""
        names = [spec.name for spec in self.specs]
        if is_frame(value):
            return self._columns(value)
        if isinstance(value, Mapping):
            if set(value) != set(names):
                raise ModelInputError(
                    f"{self.name!r} expects the inputs {', '.join(sorted(names))}, "
                    f"got {', '.join(map(str, value)) or 'none'}"
                )
            return [value[name] for name in names]
        if len(names) != 1:
            raise ModelInputError(
                f"{self.name!r} has {len(names)} inputs: pass a dict with {', '.join(names)}, such "
                f"as {example(self.specs)}"
            )
        return [value]

    def _columns(self, frame: Any) -> list[Any]:
        """Return a DataFrame's columns by input name, or all as features of the only input."""
        names = [spec.name for spec in self.specs]
        if len(names) > 1 or list(frame.columns) == names:
            missing = [name for name in names if name not in frame.columns]
            if missing:
                have = ", ".join(map(str, frame.columns))
                raise ModelInputError(
                    f"{self.name!r} expects the columns {', '.join(names)}; the DataFrame has "
                    f"{have or 'none'}"
                )
            # an input of [batch, 1] also takes a column
            return [
                frame[[spec.name]] if len(spec.shape) == 2 else frame[spec.name]
                for spec in self.specs
            ]
        features = self.specs[0].shape[-1] if self.specs[0].shape else None
        if isinstance(features, int) and len(frame.columns) != features:
            raise ModelInputError(
                f"{self.name!r} expects {names[0]} {self.specs[0]}, got a DataFrame of "
                f"{figures.plural(len(frame.columns), 'column')}"
            )
        return [frame]

    def array(self, spec: TensorSpec, value: Any) -> Array:
        """Return `value` as an array of the spec's dtype.

        Numbers in lists are cast. An array of floats is rounded to float32; any other array is cast
        only if that is exact.
        """
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ModelInputError(
                f"{self.name!r} expects {spec.name} {spec}, got lists of unequal length"
            ) from error
        dtype = dtype_of(spec)
        if array.dtype == object and dtype.kind == "f" and not isinstance(value, np.ndarray):
            array = _floats(array)
        text = array.dtype.kind in "UOT" and all(isinstance(item, str) for item in array.flat)
        if dtype == np.dtype(object) and text:
            return array.astype(object)
        if array.dtype == dtype and dtype != np.dtype(object):
            return native(array)
        if text and array.size and dtype != np.dtype(object):
            raise ModelInputError(self._for_text(spec, array))
        numbers = array.dtype.kind in "biuf" and dtype.kind in "biuf"
        if not numbers or (array.dtype.kind == "f" and dtype.kind != "f"):
            raise ModelInputError(
                f"{self.name!r} expects {spec.name} {spec}, got {describe(array)}"
            )
        # a list has no precision of its own, pandas stores numbers as float64, and NumPy's own
        # functions return float64 even for models that compute in float32
        unstated = not isinstance(value, np.ndarray)
        loose = dtype.kind == "f" and (
            unstated or (array.dtype.kind == "f" and dtype == np.float32)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(dtype)
            held = loose or _exact(array, cast)
        if dtype.kind == "f" and bool(np.any(np.isinf(cast) & np.isfinite(array))):
            raise ModelInputError(
                f"{self.name!r} expects {spec.name} {spec}, got {describe(array)} with a value "
                f"that {dtype} cannot hold: its largest is {np.finfo(dtype).max:.3g}"
            )
        if not held:
            raise ModelInputError(
                f"{self.name!r} expects {spec.name} {spec}, got {describe(array)} whose values "
                f"{dtype} cannot hold exactly: cast it yourself with .astype('{dtype}')"
            )
        return cast

    def _for_text(self, spec: TensorSpec, array: Array) -> str:
        """Return the error for text; suggest an embedder for a model that takes rows of floats."""
        one = array.size == 1
        got = "a text" if one else figures.plural(array.size, "text")
        message = f"{self.name!r} expects {spec.name} {spec}, got {got}"
        if dtype_of(spec).kind == "f" and len(spec.shape) == 2 and len(self.specs) == 1:
            model = self.name if self.name.isidentifier() else "model"
            argument, noun = ("text", "it") if one else ("texts", "them")
            message += f": encode {noun} first, {model}.predict(embedder.encode({argument}))"
        return message


def _floats(array: Array) -> Array:
    """Return a list's numbers as float64: integers of more than 64 bits, decimals, fractions."""
    with suppress(struct.error, OverflowError, TypeError):  # for the error of the caller
        packed = struct.pack(f"={array.size}d", *array.flat)
        return np.frombuffer(packed, np.float64).reshape(array.shape)
    return array


def _exact(array: Array, cast: Array) -> bool:
    """Return whether `cast` holds exactly the values of `array`."""
    if array.dtype.kind in "iu" and cast.dtype.kind == "f":
        # a direct comparison would round both to float64 first
        beyond = float(np.iinfo(array.dtype).max) + 1
        return bool(np.all(cast < beyond)) and np.array_equal(cast.astype(array.dtype), array)
    return np.array_equal(cast, array, equal_nan=array.dtype.kind == "f")
