"""Execution providers in separate packages, named `onnxruntime-ep-*`."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from conduit_lab.core.text import first_line

_PREFIX = "onnxruntime_ep_"  # of a plug-in's module

_log = logging.getLogger("conduit_lab")


@dataclass(frozen=True)
class Plugin:
    """A plug-in provider: its package with the version, and why its device may be unavailable."""

    package: str
    problem: str = "it finds no device of its kind here"


@cache
def plugins_of(ort: ModuleType) -> dict[str, Plugin]:
    """Register the installed plug-ins and return them by provider name.

    onnxruntime lists a plug-in's provider as available only if the plug-in found a device. Each
    package has a module `onnxruntime_ep_*` with `get_ep_names()` and `get_library_path()`. Packages
    and libraries that fail are logged.
    """
    found: dict[str, Plugin] = {}
    if not hasattr(ort, "register_execution_provider_library"):  # before onnxruntime 1.23
        return found
    for name in sorted(_installed_modules()):
        package = f"{name.replace('_', '-')} {_version(name)}".strip()
        try:
            plugin = import_module(name)
            providers, library = plugin.get_ep_names(), plugin.get_library_path()
        except Exception as error:  # raised by the plug-in's own code
            reason = traceback.format_exception_only(error)[-1].strip()
            _log.warning("the plug-in %s is ignored: %s", package, reason)
            continue
        for provider in providers:
            try:
                ort.register_execution_provider_library(provider, library)
                found[provider] = Plugin(package)
            except Exception as error:  # onnxruntime's: the library fails to load or does not fit
                problem = f"onnxruntime {ort.__version__} rejects it ({first_line(error)})"
                _log.warning("the provider %s of %s is unavailable: %s", provider, package, problem)
                found[provider] = Plugin(package, problem)
    return found


def _installed_modules() -> set[str]:
    """Return the names of the plug-ins' modules; `pkgutil` would test each installed module."""
    found = set[str]()
    for folder in map(Path, sys.path):
        with suppress(OSError):
            found |= {path.name.partition(".")[0] for path in folder.glob(f"{_PREFIX}*")}
    return {name for name in found if name.isidentifier()}  # not a folder of metadata


def _version(module: str) -> str:
    """Return the version of the package that contains the module, or ""."""
    from importlib import metadata  # takes 13 ms, which every import of the package would pay

    try:
        return metadata.version(module.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""
