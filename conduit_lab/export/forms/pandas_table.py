"""The forms of pandas: a table becomes a frame file, a timestamp a call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from conduit_lab.core.frame_file import FrameFileError, save_frame, table_description
from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm
from conduit_lab.export.literals import quoted

_MEND = "use columns of numbers, text, times or categories, with text and None for missing values"


class TableForm(ObjectForm):
    """A DataFrame, Series or Index becomes a frame file, loaded by `load_frame`."""

    named = True

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call that loads the file."""
        try:
            table_description(value)
        except FrameFileError as error:
            raise draft.refusal(
                f"{draft.name} has no file form without pickle: {error}", _MEND
            ) from error
        for label, items in _texts(value):
            draft.check_secret(str(label), items)
        draft.packages.pin("pandas")
        load = draft.imported("conduit_lab", "load_frame")
        return f"{load}({draft.data_file('.npz', lambda path: save_frame(path, value))})"


def _texts(table: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the columns that may hold text, with their names."""
    columns = table.items() if hasattr(table, "columns") else [(table.name, table)]
    for label, column in columns:
        if str(column.dtype) in ("object", "str", "string"):
            yield label, column.tolist()


class TimestampForm(ObjectForm):
    """A pandas timestamp or timedelta is rebuilt from its text, in its own unit."""

    aliased = False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call; a missing value is an attribute of pandas."""
        name = type(value).__name__
        if name in ("NAType", "NaTType"):
            return draft.imported("pandas", name.removesuffix("Type"))
        text = value if name == "Timedelta" else value.tz_localize(None)
        if name == "Timestamp" and value.tz is not None:
            text = value.tz_convert("UTC").tz_localize(None)
        made = f"{draft.imported('pandas', name)}({quoted(text.isoformat())})"
        made += f".as_unit({quoted(value.unit)})"
        if name == "Timestamp" and value.tz is not None:
            made += f'.tz_localize("UTC").tz_convert({draft.find(value.tz)})'
        return made


def is_timestamp(value: Any) -> bool:
    """Return whether a value is a pandas scalar; pandas is not imported."""
    pd = sys.modules.get("pandas")
    if pd is None or not hasattr(pd, "Timestamp"):
        return False
    return isinstance(value, pd.Timestamp | pd.Timedelta) or value is pd.NaT or value is pd.NA
