"""Colouring: the colour of each entry on a map, by its cluster or a metadata value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.charts import OKABE_ITO
from conduit_lab.vectors.arrays import Float64Array
from conduit_lab.vectors.columns import comparable, is_number
from conduit_lab.vectors.explore.clusters import Clusters

CLUSTERS = "clusters"
VALUE_COLORS = OKABE_ITO[:7]  # the eighth is the text colour
REST_COLOR = "#8a8a8a"
# Viridis at six even steps without its ends, which are unreadable on black or white.
RAMP = ("#414487", "#2f6c8e", "#21918c", "#2fb47c", "#6ccd59", "#b8c832")
REST = 254  # the code of an entry with a value that is not shown
MISSING_CODE = 255
MAX_FIELDS = 12
_READ_ENTRIES = 5_000
_LABEL_CHARACTERS = 40
_HIDDEN = ("content", "start", "end")  # offsets are not useful as colours
_MAX_VALUES_SHARE = 0.5  # of distinct texts to entries; beyond it a field is not offered

Codes = npt.NDArray[np.uint8]


class Category(NamedTuple):
    """One colour: its label, number of entries, and the filter that selects them, if any."""

    label: str
    color: str
    entries: int
    where: dict[str, Any] | None


class Coloring(NamedTuple):
    """The colours of a map by one field: the category index of each entry, uint8 `[n]`.

    An entry whose value is not shown has code 254, an entry without the key 255; `rest` is the
    number of values without their own colour.
    """

    field: str
    codes: Codes
    categories: list[Category]
    rest: str = ""


def by_cluster(clusters: Clusters, names: Sequence[str]) -> Coloring:
    """Return the colours by cluster; they repeat after the seventh."""
    sizes = clusters.sizes.tolist()
    categories = [
        Category(name, VALUE_COLORS[place % len(VALUE_COLORS)], size, None)
        for place, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    return Coloring(CLUSTERS, clusters.labels.astype(np.uint8), categories)


def by_field(metadatas: Sequence[Mapping[str, Any]], field: str) -> Coloring:
    """Return the colours by the value of `field`.

    The seven most frequent values have a colour; more than seven distinct numbers are binned into
    six ranges of about equal counts.
    """
    values = [metadata.get(field, _NONE) for metadata in metadatas]
    numbers = [value for value in values if is_number(value)]
    if len(set(numbers)) > len(VALUE_COLORS) and len(numbers) > len(values) // 2:
        return _ranges(values, field)
    keys: list[Hashable] = [comparable(value) for value in values]
    counts = Counter(keys)
    counts.pop(_NONE, None)
    originals = dict(zip(reversed(keys), reversed(values), strict=True))
    most = sorted(counts.items(), key=lambda item: (-item[1], _label(originals[item[0]])))
    shown = most[: len(VALUE_COLORS)]
    code_of: dict[Hashable, int] = {key: place for place, (key, _) in enumerate(shown)}
    code_of[_NONE] = MISSING_CODE
    codes = np.fromiter((code_of.get(key, REST) for key in keys), np.uint8, len(keys))
    categories = [
        Category(_label(originals[key]), VALUE_COLORS[place], count, {field: originals[key]})
        for place, (key, count) in enumerate(shown)
    ]
    others = len(counts) - len(shown)
    return Coloring(
        field, codes, categories, figures.plural(others, "other value") if others else ""
    )


def colour_fields(metadatas: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return at most 12 keys useful for colouring, those with the fewest values first.

    Keys with a single value, or a unique text in most entries, are excluded. At most 5,000 entries
    are read.
    """
    metadatas = metadatas[:: max(1, len(metadatas) // _READ_ENTRIES)]
    distinct: dict[str, set[Hashable]] = {}
    held: Counter[str] = Counter()
    for metadata in metadatas:
        held.update(metadata.keys())
        for key, value in metadata.items():
            distinct.setdefault(key, set()).add(comparable(value))
    offered = []
    for key, values in distinct.items():
        count, all_numbers = len(values), all(map(is_number, values))
        several = count + (held[key] < len(metadatas)) > 1
        usual = count <= max(len(VALUE_COLORS), _MAX_VALUES_SHARE * held[key])
        if key not in _HIDDEN and several and (usual or all_numbers):
            offered.append((count, key))
    return [key for _, key in sorted(offered)[:MAX_FIELDS]]


class _Missing:
    """No value."""


_NONE = _Missing()


def _ranges(values: Sequence[Any], field: str) -> Coloring:
    """Return the colours of numbers by their range."""
    known = np.array([float(value) if is_number(value) else np.nan for value in values])
    finite = np.clip(known, -1e300, 1e300)
    edges = np.unique(np.quantile(finite[~np.isnan(known)], np.linspace(0, 1, len(RAMP) + 1)))
    places = np.searchsorted(edges[1:-1], finite, side="right")
    codes = np.where(np.isnan(known), MISSING_CODE, places).astype(np.uint8)
    codes[[not is_number(value) and value is not _NONE for value in values]] = REST
    counts = np.bincount(codes, minlength=len(edges) - 1)
    categories = []
    for place in range(len(edges) - 1):
        low, high = edges[place], edges[place + 1]
        last = place == len(edges) - 2
        where = {field: {"$gte": _plain(low), "$lte" if last else "$lt": _plain(high)}}
        label = f"{_number(low, edges)} – {_number(high, edges)}"
        color = RAMP[place * len(RAMP) // (len(edges) - 1)]
        categories.append(Category(label, color, int(counts[place]), where))
    return Coloring(field, codes, categories)


def _plain(value: np.floating[Any]) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _number(value: np.floating[Any], edges: Float64Array) -> str:
    """Return a bound with as many digits as the width of the ranges requires."""
    number = _plain(value)
    return str(number) if isinstance(number, int) else f"{number:.4g}"


def _label(value: Any) -> str:
    if isinstance(value, str):
        return one_line(value, _LABEL_CHARACTERS) or "(empty)"
    if isinstance(value, list):
        return one_line(", ".join(map(str, value)), _LABEL_CHARACTERS) or "(empty)"
    return one_line(str(value), _LABEL_CHARACTERS)
