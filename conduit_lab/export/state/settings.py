"""Settings: what a call in the session sets for a whole library, as lines of its state."""

from __future__ import annotations

import locale
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence

SETTING = "setting "  # before the name, as the place of its line
_SETTERS = {  # words of the statements that set them
    "decimal": ("getcontext()", "setcontext(", "DefaultContext"),
    "numpy": ("seterr(", "seterrcall("),
    "pandas": ("set_option(", ".options."),
    "locale": ("setlocale(",),
}
_CATEGORIES = ("LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")
_FRAME_OPTIONS = (
    "mode.copy_on_write",
    "mode.string_storage",
    "future.infer_string",
    "future.no_silent_downcasting",
)


def settings_of(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the settings, as (name, value), of the `packages` that the endpoints' code reaches.

    Those that can change an answer: not how values are printed, and not which warnings are shown.
    """
    reached = {name.partition(".")[0].removeprefix("_") for name in packages}
    if "decimal" in reached:
        import decimal

        context = decimal.getcontext()
        yield "decimal.getcontext().prec", str(context.prec)
        yield "decimal.getcontext().rounding", str(context.rounding)
    if "numpy" in reached:
        import numpy

        for kind, how in numpy.geterr().items():
            if how in ("raise", "call"):
                yield f"numpy.geterr()[{kind!r}]", how
    if "pandas" in reached and (pandas := sys.modules.get("pandas")) is not None:
        for option in _FRAME_OPTIONS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    value = str(pandas.get_option(option))
                except (KeyError, AttributeError):  # of another version
                    continue
            yield f"pandas option {option}", value
    if reached & {"locale", "time", "datetime", "calendar"}:
        for category in _CATEGORIES:
            yield f"locale {category}", str(locale.setlocale(getattr(locale, category)))


def setting_mend(place: str, cells: Sequence[str]) -> str:
    """Return how to mend a setting that differs, with the cell that set it where one is found."""
    family = place.removeprefix(SETTING).replace(" ", ".").partition(".")[0]
    words = _SETTERS.get(family, ())
    for number, cell in reversed(list(enumerate(cells))):
        for line in cell.splitlines():
            if any(word in line for word in words):
                return (
                    f"Cell {number} sets it for the whole session: {line.strip()}. "
                    "Set it inside the function that needs it"
                )
    return "A call sets it for the whole session: set it inside the function that needs it"
