"""Requirements: the distributions of an exported app, pinned to the versions that ran here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata

_NAME = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")


def _runtime_extra() -> str | None:
    """Return the extra of the installed onnxruntime: cpu, gpu, or None."""
    for name, extra in (("onnxruntime-gpu", "gpu"), ("onnxruntime", "cpu")):
        if _installed(name):
            return extra
    return None


def requirements(
    wheel: str, distributions: Mapping[str, str], protocols: Sequence[str] = ()
) -> str:
    """Return `requirements.txt`: the wheel in `lib/`, and each package below it, pinned.

    `protocols` are those that the app speaks.
    """
    extra = _runtime_extra()
    pins = dict(distributions)
    if "mcp" in protocols and _installed("mcp"):  # the package of that protocol has its name
        pins["mcp"] = metadata.version("mcp")
        _add("mcp", None, pins)
    _add("conduit-lab", extra, pins)
    lines = [f"./lib/{wheel}" + (f"[{extra}]" if extra else "")]
    lines += sorted(f"{name}=={version}" for name, version in pins.items() if name != "conduit-lab")
    return "\n".join(lines) + "\n"


def _add(name: str, extra: str | None, pins: dict[str, str]) -> None:
    """Pin the requirements of a distribution, and theirs; skip those of other platforms."""
    for requirement in metadata.requires(name) or ():
        spec, _, marker = requirement.partition(";")
        if "extra ==" in marker and (extra is None or f"'{extra}'" not in marker.replace('"', "'")):
            continue
        match = _NAME.match(spec.strip())
        if match is None or not _installed(match[1]):
            continue
        found = metadata.distribution(match[1])
        canonical = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if canonical not in pins and canonical != "conduit-lab":
            pins[canonical] = found.version
            _add(canonical, None, pins)


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
