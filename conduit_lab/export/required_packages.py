"""Required packages: in a proof's process, packages outside the requirements are not importable.

Imports only the standard library: anything imported later is checked.
"""

# ruff: noqa: PTH100, PTH120, PTH206
from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any

from conduit_lab.export.hidden_files import Report

_PIN = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*==", re.MULTILINE)
_STANDARD = sys.stdlib_module_names | set(sys.builtin_module_names) | {"conduit_lab", "app"}


def refuse_others(requirements: str, folder: str, report: Report) -> None:
    """Restrict imports to the standard library, the modules in `folder` and the pinned packages.

    `requirements` is the text of a `requirements.txt`. Any other package seems not to be installed,
    and its name is passed to `report`.
    """
    required = _Required(_PIN.findall(requirements), folder, report)
    finders = [_Finder(finder, required) for finder in sys.meta_path]
    sys.meta_path[:] = [*finders, _Missed(report)]


class _Missed:
    """The last finder: finds nothing, and reports each top-level module that reaches it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._reported: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Report a module that no finder found."""
        if "." not in name and name not in self._reported:
            self._reported.add(name)
            self._report({"kind": "missed", "name": name})


class _Required:
    """The names that may be imported; package contents are read lazily."""

    def __init__(self, pins: list[str], folder: str, report: Report) -> None:
        self.pins = {_canonical(pin) for pin in pins}
        self.folder = folder
        self._report = report
        self._names: set[str] | None = None
        self._reported: set[str] = set()

    def allows(self, name: str, spec: Any) -> bool:
        """Return whether the top-level module `name`, found as `spec`, may be imported."""
        if name in _STANDARD or name.startswith("__editable__"):
            return True
        if self._names is None:
            self._names = {"_distutils_hack", "sitecustomize", "usercustomize"}
            for pin in self.pins:
                self._names |= set(_modules_of(pin))
        if name in self._names or _is_below(spec, self.folder) or _is_pythons(spec):
            return True
        if name not in self._reported:
            self._reported.add(name)
            self._report({"kind": "package", "name": name, "origin": str(spec.origin)})
        return False


class _Finder:
    """A module finder that hides packages outside the requirements."""

    def __init__(self, finder: Any, required: _Required) -> None:
        self._finder = finder
        self._required = required

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find a module, unless it belongs to a package outside the requirements."""
        spec = self._finder.find_spec(name, path, target)
        if spec is None or "." in name or self._required.allows(name, spec):
            return spec
        return None

    def find_distributions(self, *context: Any, **options: Any) -> Iterator[Any]:
        """Find the installed packages that are required."""
        find = getattr(self._finder, "find_distributions", None)
        found: Iterable[Any] = () if find is None else find(*context, **options)
        known = {*self._required.pins, "conduit-lab"}
        return (each for each in found if _canonical(_title(each)) in known)


def _title(distribution: metadata.Distribution) -> str:
    """Return a package's name, from its folder's name if possible, which reads no file."""
    path = getattr(distribution, "_path", None)
    stem = str(getattr(path, "name", ""))
    return stem.partition("-")[0] if stem else str(distribution.metadata["Name"])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _modules_of(pin: str) -> Iterator[str]:
    """Yield the top-level modules of an installed package, according to its file list."""
    try:
        record = metadata.distribution(pin).read_text("RECORD") or ""
    except metadata.PackageNotFoundError:
        return
    for line in record.splitlines():
        first, below, _ = line.partition(",")[0].partition("/")
        if below or first.endswith((".py", ".so", ".pyd")):
            yield first.partition(".")[0]


def _is_pythons(spec: Any) -> bool:
    """Return whether a module belongs to Python itself, such as the data of `sysconfig`."""
    packages = "site-packages", "dist-packages"
    return _is_below(spec, os.path.dirname(os.__file__)) and not any(
        name in str(spec.origin).split(os.sep) for name in packages
    )


def _is_below(spec: Any, folder: str) -> bool:
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(
        isinstance(place, str) and os.path.abspath(place).startswith(folder + os.sep)
        for place in places
    )
