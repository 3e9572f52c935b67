"""The forms of NumPy values: arrays become files, scalars and dtypes become calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.export.forms.array_view import gives_view, offset_in, owner_of
from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm


class ArrayForm(ObjectForm):
    """An array becomes an `.npy` file; a view of a named array stays a view of it."""

    exact = True

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the session's own statement if it takes the view."""
        owner, own = owner_of(value, draft.namespace), draft.own
        if owner is not None and own is not None:
            base = draft.namespace.names[owner]
            if gives_view(own, owner, draft.name, value, base):
                draft.check_secret(draft.name, value)
                return draft.repeat(own)
        return super().statement(value, draft)

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call that loads the file."""
        if value.dtype.hasobject:
            raise draft.refusal(
                f"{draft.name} has no file form without pickle", "use an array of numbers or text"
            )
        made = _made(value, draft)
        if value.flags.writeable:
            return made
        name = draft.add_part(value, made)
        draft.before.append(f"{name}.setflags(write=False)")
        return name


def _made(value: Any, draft: Draft) -> str:
    """Return the call that takes the view of a named array, else the one that reads the file."""
    owner = owner_of(value, draft.namespace)
    if owner is not None:
        base = draft.namespace.names[owner]
        make = draft.imported("numpy", "ndarray")
        parts = (value.shape, value.dtype, base, offset_in(base, value), value.strides)
        return f"{make}({', '.join(draft.find(each) for each in parts)})"
    load = draft.imported("numpy", "load")
    return f"{load}({draft.data_file('.npy', lambda path: _save(path, value))})"


class MaskedArrayForm(ObjectForm):
    """A masked array is rebuilt from its data, mask and fill value."""

    exact = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call that masks the data."""
        make = draft.imported("numpy", "ma.masked_array")
        arguments = [draft.find(np.asarray(value.data), "data")]
        if value.mask is not np.ma.nomask:
            arguments.append(draft.find(np.asarray(value.mask), "mask"))
        if value._fill_value is not None:
            arguments.append(f"fill_value={draft.find(value.fill_value, 'fill')}")
        if value.hardmask:
            arguments.append("hard_mask=True")
        return f"{make}({', '.join(arguments)})"


def _row(record: np.void, draft: Draft) -> str | None:
    """Return the item of a named array that a record is, as changes of one show in the other."""
    array = record.base
    while isinstance(array, np.ndarray) and draft.namespace.name_of(array) is None:
        array = array.base
    if not isinstance(array, np.ndarray) or array.ndim != 1 or not (name := draft.named(array)):
        return None
    start, here = (
        np.frombuffer(each, "u1", 1).__array_interface__["data"][0] for each in (array[:1], record)
    )
    return f"{name}[{(here - start) // array.strides[0]}]"


class NumberForm(ObjectForm):
    """A NumPy scalar becomes a call of its class with the nearest Python value."""

    aliased = False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call; a record becomes an item of its array, or of a new one."""
        kind = type(value)
        if isinstance(value, np.void) and (place := _row(value, draft)):
            return place
        if isinstance(value, np.void) or kind.__name__ in ("longdouble", "clongdouble"):
            return f"{draft.find(np.asarray(value), 'scalar')}[()]"
        call = draft.imported("numpy", kind.__name__)
        if isinstance(value, np.datetime64 | np.timedelta64):
            unit = np.datetime_data(value.dtype)
            step = unit[0] if unit[1] == 1 else f"{unit[1]}{unit[0]}"
            shown: Any = int(value.astype("i8"))
            if np.isnat(value):
                shown = "NaT"
            elif isinstance(value, np.datetime64):
                shown = str(value)
            return f"{call}({draft.find(shown)}" + (
                ")" if step == "generic" else f", {draft.find(step)})"
            )
        plain = value.item()
        if isinstance(value, np.floating) and np.isfinite(value) and kind(str(value)) == value:
            plain = float(str(value))  # 0.1, not 0.10000000149011612
        return f"{call}({draft.find(plain)})"


class DtypeForm(ObjectForm):
    """A dtype is rebuilt from its description."""

    aliased = False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call to `numpy.dtype`."""
        made: Any = value.str if value.names is None else value.descr
        if np.dtype(made) != value or value.metadata:
            raise draft.no_form(f"{draft.name} is a dtype with a custom layout", "simplify it")
        if value.hasobject:
            made = "O"
        elif value.names is None and value.kind in "biufc" and value.isnative:
            made = value.name
        return f"{draft.imported('numpy', 'dtype')}({draft.find(made)})"


def _save(path: Path, array: Any) -> None:
    np.save(path, array, allow_pickle=False)
