"""Execution providers that come in a package of their own, named `onnxruntime-ep-*`."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Plugin:
    """One provider of a plug-in package: the package with its version, and why the provider may not be there."""

    package: str
    problem: str = "it finds no device of its kind here"


@cache
def plugins_of(ort: ModuleType) -> dict[str, Plugin]:
    """Register the installed plug-ins and return them by the names of their providers.

    onnxruntime lists a provider among the available ones only if its plug-in found a device. Each
    package has a module `onnxruntime_ep_*` with `get_ep_names()` and `get_library_path()`.
    """
    found: dict[str, Plugin] = {}
    if not hasattr(ort, "register_execution_provider_library"):  # before onnxruntime 1.23
        return found
    for name in sorted(
        module.name
        for module in pkgutil.iter_modules()
        if module.name.startswith("onnxruntime_ep_")
    ):
        package = f"{name.replace('_', '-')} {_version(name)}".strip()
        try:
            plugin = import_module(name)
            providers, library = plugin.get_ep_names(), plugin.get_library_path()
        except Exception:  # the plug-in's own code; a package without these two names is none
            continue
        for provider in providers:
            try:
                ort.register_execution_provider_library(provider, library)
                found[provider] = Plugin(package)
            except (
                Exception
            ) as error:  # onnxruntime's, for a library that does not fit it or cannot be loaded
                line = str(error).strip().partition("\n")[0][:200]
                found[provider] = Plugin(
                    package, f"onnxruntime {ort.__version__} does not take it ({line})"
                )
    return found


def _version(module: str) -> str:
    """Return the version of the package that brings the module, or nothing."""
    from importlib import metadata  # 13 ms of every import of the package

    try:
        return metadata.version(module.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""
