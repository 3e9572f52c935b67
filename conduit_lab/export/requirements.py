"""Requirements: the distributions of an exported app, pinned to the versions that ran here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
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
    for name in distributions:
        _add(name, (), pins)
    if "mcp" in protocols and _installed("mcp"):  # the package of that protocol has its name
        pins["mcp"] = metadata.version("mcp")
        _add("mcp", (), pins)
    _add("conduit-lab", () if extra is None else (extra,), pins)
    lines = [f"./lib/{wheel}" + (f"[{extra}]" if extra else "")]
    lines += sorted(f"{name}=={version}" for name, version in pins.items() if name != "conduit-lab")
    return "\n".join(lines) + "\n"


def _add(name: str, extras: Collection[str], pins: dict[str, str]) -> None:
    """Pin the requirements of a distribution and of its extras, and theirs; skip absent ones."""
    for requirement in metadata.requires(name) or ():
        spec, _, marker = requirement.partition(";")
        marked = marker.replace('"', "'")
        if "extra ==" in marked and not any(f"'{extra}'" in marked for extra in extras):
            continue
        match = _NAME.match(spec.strip())
        if match is None or not _installed(match[1]):
            continue
        found = metadata.distribution(match[1])
        canonical = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        own = [extra.strip() for extra in (match[2] or "").split(",") if extra.strip()]
        if canonical != "conduit-lab" and (canonical not in pins or own):
            pins[canonical] = found.version
            _add(canonical, own, pins)


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
