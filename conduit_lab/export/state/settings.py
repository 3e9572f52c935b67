"""Settings: library options that the session set, as lines of its state."""

from __future__ import annotations

import csv
import decimal
import locale
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np

SETTING = "setting "  # prefix of a setting's line
FORMATTING = "text of values"  # stands for a package: the code formats values as text

_DEFAULT = "its default"
_CATEGORIES = ("LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")
_PARTS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")

_Values = Iterable[tuple[str, object]]


class _Settings(NamedTuple):
    """Settings of one family, identified by a common name prefix.

    They affect code that uses one of the `packages`, or any code if that is empty. `words` occur in
    the statements that set them. Settings that notebook tools also change (`by_cells`) are compared
    only if a cell contains such words.
    """

    read: Callable[[], _Values]
    packages: frozenset[str]
    words: tuple[str, ...]
    by_cells: bool = False


def settings_of(
    packages: Iterable[str], cells: Sequence[str] | None, set_attributes: Set[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Yield the settings, as (name, value), that affect code using the `packages`.

    Options with default values are omitted. `cells` are the session's cells, None in an export. The
    decimal context, which is per thread, is compared unless the code sets parts of it.
    """
    used = {name.partition(".")[0].removeprefix("_") for name in packages}
    for settings in _FAMILIES.values():
        if settings.packages and not settings.packages & used:
            continue
        if settings.by_cells and cells is not None and not _line_with(settings.words, cells):
            continue
        for name, value in settings.read():
            if settings.read is _decimal and set_attributes & {*_PARTS, "traps"}:
                continue
            if FORMATTING in used or not _is_of_texts(name):
                yield name, str(value)


class SettingDifference(NamedTuple):
    """A setting that differs, its two values, and the fix in the session."""

    name: str
    here: str
    there: str
    mend: str


def settings_difference(
    here: Mapping[str, str], there: Mapping[str, str], cells: Sequence[str]
) -> SettingDifference | None:
    """Return the first setting that differs; None if all match."""
    for name in dict.fromkeys([*here, *there]):
        mine, other = here.get(name, _DEFAULT), there.get(name, _DEFAULT)
        family = _FAMILIES[_family(name)]
        if mine == other or (family.by_cells and name not in here):
            continue
        return SettingDifference(name, mine, other, _mend(family.words, cells))
    return None


def _mend(words: Sequence[str], cells: Sequence[str]) -> str:
    number, line = _line_with(words, cells) or (0, "")
    where = f"Cell {number} sets it" if line else "A call sets it"
    shown = f": {line}. Set" if line else ": set"
    return f"{where} for the whole session{shown} it inside the function that needs it"


def _line_with(words: Sequence[str], cells: Sequence[str]) -> tuple[int, str] | None:
    """Return the newest cell line that contains one of the words, and the cell's number."""
    for number, cell in reversed(list(enumerate(cells))):
        for line in cell.splitlines():
            if any(word in line for word in words):
                return number, line.strip()
    return None


def _family(name: str) -> str:
    return name.replace(" ", ".").partition(".")[0]


def _is_of_texts(name: str) -> bool:
    """Return whether a setting only affects how values are formatted as text."""
    return name.startswith(("numpy print option", "pandas option display.", "pandas option styler"))


def _decimal() -> _Values:
    context = decimal.getcontext()
    for part in _PARTS:
        yield f"decimal.getcontext().{part}", getattr(context, part)
    traps = sorted(signal.__name__ for signal, is_set in context.traps.items() if is_set)
    yield "decimal.getcontext().traps", ", ".join(traps)


def _numpy() -> _Values:
    for kind, how in np.geterr().items():
        if how in ("raise", "call"):  # the other actions do not affect answers
            yield f"numpy.geterr()[{kind!r}]", how
    for option, value in np.get_printoptions().items():
        yield f"numpy print option {option}", value


def _pandas() -> _Values:
    """Yield the options that differ from their defaults; pandas has no public API for these."""
    known = getattr(sys.modules.get("pandas._config.config"), "_registered_options", {})
    for option, registered in known.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for deprecated options
            value = sys.modules["pandas"].get_option(option)
        if repr(value) != repr(registered.defval):
            yield f"pandas option {option}", value


def _locale() -> _Values:
    for category in _CATEGORIES:
        yield f"locale {category}", locale.setlocale(getattr(locale, category))


def _sys() -> _Values:
    yield "sys.getrecursionlimit()", sys.getrecursionlimit()
    yield "sys.get_int_max_str_digits()", sys.get_int_max_str_digits()


def _warnings() -> _Values:
    rules = [rule for rule in warnings.filters if rule[0] == "error"]
    # IPython adds some of its own
    errors = [rule for rule in rules if "IPython" not in str(rule[2])]
    for number, (_, text, kind, module, line) in enumerate(errors):
        parts = [getattr(each, "pattern", each) for each in (text, module)]
        yield f"warnings.filters[{number}]", f"error {kind} {parts} {line}"


_TIMES = frozenset({"locale", "time", "datetime", "calendar"})
_FAMILIES = {
    "decimal": _Settings(
        _decimal,
        frozenset({"decimal"}),
        ("getcontext()", "setcontext(", "DefaultContext"),
    ),
    "numpy": _Settings(
        _numpy, frozenset({"numpy"}), ("seterr(", "seterrcall(", "set_printoptions(")
    ),
    "pandas": _Settings(_pandas, frozenset({"pandas"}), ("set_option(", ".options.")),
    "locale": _Settings(_locale, _TIMES, ("setlocale(",)),
    "csv": _Settings(
        lambda: [("csv.field_size_limit()", csv.field_size_limit())],
        frozenset({"csv"}),
        ("field_size_limit(",),
    ),
    "sys": _Settings(
        _sys, frozenset(), ("setrecursionlimit(", "set_int_max_str_digits("), by_cells=True
    ),
    "socket": _Settings(
        lambda: [("socket.getdefaulttimeout()", socket.getdefaulttimeout())],
        frozenset(),
        ("setdefaulttimeout(",),
        by_cells=True,
    ),
    "warnings": _Settings(
        _warnings, frozenset(), ("filterwarnings(", "simplefilter("), by_cells=True
    ),
    "time": _Settings(
        lambda: [("time.tzname", time.tzname)], _TIMES, ("tzset(", "TZ"), by_cells=True
    ),
}
