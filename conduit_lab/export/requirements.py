"""Requirements: the distributions that an exported app needs, pinned to the installed versions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from email import message_from_string
from importlib import metadata
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from conduit_lab.core.errors import MissingExtra

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_OWN = "conduit-lab"
_HEAD = """\
# pip install --no-deps --requirement requirements.txt
# Lists each package with all its dependencies: nothing else is installed.
"""
PARSER = "onnx"  # parses ONNX graphs
_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
# dependencies of this package that only some files need, by file name pattern
_READERS = {
    "*.onnx": (PARSER, *_RUNTIMES),
    "tokenizer.json": ("tokenizers",),
    "tokenizer_config.json": ("jinja2",),
    "*.jinja": ("jinja2",),
    "*.safetensors": ("safetensors",),
}
_BFLOAT16 = ("ml-dtypes",)  # for weights of this type, which NumPy lacks; onnx depends on it too
CODES = "numkong"  # 8-bit codes of large stores
_ARRAY_PARSER = "pysimdjson"  # for array parameters in JSON bodies
_OPTIONAL = frozenset({CODES, _ARRAY_PARSER, *chain.from_iterable(_READERS.values())})
_DOWNLOADS = ("tokenizers", "huggingface-hub")  # the first depends on the second only for downloads
_SEPARATORS = re.compile(r"[-_.]+")


def requirements(
    wheel: str,
    distributions: Collection[str],
    files: Collection[PurePath],
    protocols: Collection[str] = (),
    *,
    large_stores: bool = False,
    takes_arrays: bool = False,
    reads_graphs: bool = True,
) -> str:
    """Return `requirements.txt`: the wheel in `lib/`, and every required package, pinned.

    `distributions` are imported by the app's own code, `files` are the app's files, `protocols` the
    protocols it serves; `large_stores` need quantized codes, and with `takes_arrays` an endpoint
    has an array parameter. Without `reads_graphs`, the facts of all ONNX files are recorded, so no
    parser is needed.
    """
    needed = {name for pattern, names in _READERS.items() if _has(files, pattern) for name in names}
    needed |= {CODES} if large_stores else set()
    needed |= {_ARRAY_PARSER} if takes_arrays else set()
    needed -= set() if reads_graphs else {PARSER}
    left_out = {(_OWN, name) for name in _OPTIONAL - needed} | {_DOWNLOADS}
    if _DOWNLOADS[0] in distributions:  # the app's own code may download files
        left_out.discard(_DOWNLOADS)
    pins = _Pins(left_out)
    pins.add_required(_OWN, _runtime_extra())
    for name in (*distributions, *(_BFLOAT16 if _has(files, "*.safetensors") else ())):
        pins.add(name)
    if "mcp" in protocols:  # the protocol's package has the same name
        pins.add("mcp")
    return f"{_HEAD}./lib/{wheel}\n" + "".join(f"{line}\n" for line in pins.lines())


def _has(files: Iterable[PurePath], pattern: str) -> bool:
    return any(file.match(pattern) for file in files)


def pinned_version(text: str, names: Iterable[str] = _RUNTIMES) -> str | None:
    """Return the version of the first of `names` that a `requirements.txt` pins, or None."""
    for name in names:
        if found := re.search(rf"^{re.escape(name)}==([^\s;]+)", text, re.MULTILINE):
            return found[1]
    return None


class _Pins:
    """The pinned distributions, each with a marker for the platforms that need it.

    `left_out` lists pairs of a distribution and a dependency that only features unused here need.
    """

    def __init__(self, left_out: Collection[tuple[str, str]]) -> None:
        self._left_out = left_out
        self._versions: dict[str, str] = {}
        self._markers: dict[str, str] = {}  # empty for all platforms
        self._facts: dict[str, _Installed] = {}
        self._done: set[tuple[str, frozenset[str], str]] = set()

    def lines(self) -> list[str]:
        return sorted(
            f"{name}=={version}" + (f"; {self._markers[name]}" if self._markers[name] else "")
            for name, version in self._versions.items()
        )

    def add(self, name: str, extras: Collection[str] = (), marker: str = "") -> None:
        """Pin a distribution and its dependencies; skip one that is not installed."""
        try:
            found = self._installed(name)
        except metadata.PackageNotFoundError:
            return
        canonical = _canonical(found.name)
        if canonical != _OWN:
            self._versions[canonical] = found.version
            marker = marker and self._markers.get(canonical, marker)
            self._markers[canonical] = marker
            self.add_required(canonical, extras, marker)

    def add_required(self, name: str, extras: Collection[str] = (), marker: str = "") -> None:
        """Pin the dependencies of a distribution, including those of its `extras`."""
        job = (name, frozenset(extras), marker)
        if job in self._done:
            return
        self._done.add(job)
        for each in _holding(self._installed(name).requires, extras):
            if (name, _canonical(each.name)) not in self._left_out:
                self.add(each.name, each.extras, marker or _platforms(each))

    def _installed(self, name: str) -> _Installed:
        """Return the facts of a distribution; raise `PackageNotFoundError` if missing."""
        if name not in self._facts:
            self._facts[name] = _Installed.of(metadata.distribution(name))
        return self._facts[name]


class _Installed(NamedTuple):
    """A distribution's name and version, and its requirement lines."""

    name: str
    version: str
    requires: Sequence[str]

    @classmethod
    def of(cls, found: metadata.Distribution) -> _Installed:
        """Parse only the metadata headers: the description below may have a thousand lines."""
        text = found.read_text("METADATA")
        if text is None:  # an egg
            return cls(found.metadata["Name"], found.version, found.requires or ())
        head = message_from_string(text.partition("\n\n")[0])
        return cls(head["Name"], head["Version"], head.get_all("Requires-Dist", ()))


def _holding(requirements: Sequence[str], extras: Collection[str]) -> Iterable[Requirement]:
    """Yield the requirements of a distribution that apply on this platform."""
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        raise MissingExtra("packaging", "lab", "an export") from error
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": each}) for each in ("", *extras)):
            yield requirement


def _platforms(requirement: Requirement) -> str:
    """Return the marker of a platform-specific requirement, or ""."""
    text = str(requirement.marker or "")
    return text if "platform" in text and "extra" not in text else ""


def _runtime_extra() -> Collection[str]:
    """Return the extra that selects the installed onnxruntime, if any."""
    for name, extra in zip(_RUNTIMES, ("gpu", "cpu"), strict=True):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        return (extra,)
    return ()


def _canonical(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()
