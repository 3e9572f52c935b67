"""Requirements: the distributions of an exported app, pinned to the versions that ran here."""

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
# Each package is listed with everything that it requires, so that nothing else is installed.
"""
PARSER = "onnx"  # of ONNX graphs
_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
# the packages of this one that only some files need, by the files' names
_READERS = {
    "*.onnx": (PARSER, *_RUNTIMES),
    "tokenizer.json": ("tokenizers",),
    "tokenizer_config.json": ("jinja2",),
    "*.jinja": ("jinja2",),
    "*.safetensors": ("safetensors",),
}
_BFLOAT16 = ("ml-dtypes",)  # for weights of this type, which NumPy lacks; onnx requires it too
CODES = "numkong"  # 8-bit codes of large stores
_ARRAY_PARSER = "pysimdjson"  # of array parameters in JSON bodies
_OPTIONAL = frozenset({CODES, _ARRAY_PARSER, *chain.from_iterable(_READERS.values())})
_DOWNLOADS = ("tokenizers", "huggingface-hub")  # required by the first for downloads alone
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
    """Return `requirements.txt`: the wheel in `lib/`, and every package that the app needs, pinned.

    `distributions` are those that the app's own code imports, `files` the app's, `protocols` those
    that it speaks; `large_stores` have codes; with `takes_arrays` an endpoint has an array
    parameter. Without `reads_graphs` the facts of all ONNX files are recorded, and nothing parses
    one.
    """
    needed = {name for pattern, names in _READERS.items() if _has(files, pattern) for name in names}
    needed |= {CODES} if large_stores else set()
    needed |= {_ARRAY_PARSER} if takes_arrays else set()
    needed -= set() if reads_graphs else {PARSER}
    left_out = {(_OWN, name) for name in _OPTIONAL - needed} | {_DOWNLOADS}
    if _DOWNLOADS[0] in distributions:  # the app's own code may download
        left_out.discard(_DOWNLOADS)
    pins = _Pins(left_out)
    pins.add_required(_OWN, _runtime_extra())
    for name in (*distributions, *(_BFLOAT16 if _has(files, "*.safetensors") else ())):
        pins.add(name)
    if "mcp" in protocols:  # the package of that protocol has its name
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
    """The pinned distributions, each with a marker of the platforms that need it.

    `left_out` are pairs of a distribution and one that it requires for something unused here.
    """

    def __init__(self, left_out: Collection[tuple[str, str]]) -> None:
        self._left_out = left_out
        self._versions: dict[str, str] = {}
        self._markers: dict[str, str] = {}  # empty for every platform
        self._facts: dict[str, _Installed] = {}
        self._done: set[tuple[str, frozenset[str], str]] = set()

    def lines(self) -> list[str]:
        return sorted(
            f"{name}=={version}" + (f"; {self._markers[name]}" if self._markers[name] else "")
            for name, version in self._versions.items()
        )

    def add(self, name: str, extras: Collection[str] = (), marker: str = "") -> None:
        """Pin a distribution and everything that it requires; skip one that is not installed."""
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
        """Pin everything that a distribution requires with its `extras`."""
        job = (name, frozenset(extras), marker)
        if job in self._done:
            return
        self._done.add(job)
        for each in _holding(self._installed(name).requires, extras):
            if (name, _canonical(each.name)) not in self._left_out:
                self.add(each.name, each.extras, marker or _platforms(each))

    def _installed(self, name: str) -> _Installed:
        """Return the facts of an installed distribution, or raise `PackageNotFoundError`."""
        if name not in self._facts:
            self._facts[name] = _Installed.of(metadata.distribution(name))
        return self._facts[name]


class _Installed(NamedTuple):
    """A distribution's name and version, and the lines of its requirements."""

    name: str
    version: str
    requires: Sequence[str]

    @classmethod
    def of(cls, found: metadata.Distribution) -> _Installed:
        """Read the head of the metadata alone, once: the text below may have a thousand lines."""
        text = found.read_text("METADATA")
        if text is None:  # an egg
            return cls(found.metadata["Name"], found.version, found.requires or ())
        head = message_from_string(text.partition("\n\n")[0])
        return cls(head["Name"], head["Version"], head.get_all("Requires-Dist", ()))


def _holding(requirements: Sequence[str], extras: Collection[str]) -> Iterable[Requirement]:
    """Yield the requirements of a distribution that hold on this platform."""
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
    """Return the marker of a requirement that other platforms do not have, else nothing."""
    text = str(requirement.marker or "")
    return text if "platform" in text and "extra" not in text else ""


def _runtime_extra() -> Collection[str]:
    """Return the extra of the installed onnxruntime, if there is one."""
    for name, extra in zip(_RUNTIMES, ("gpu", "cpu"), strict=True):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        return (extra,)
    return ()


def _canonical(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()
