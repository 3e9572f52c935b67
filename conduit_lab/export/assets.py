"""Assets: the files of an export, with their path in the export and their source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path, PurePath
from typing import Any

from conduit_lab.core.weight import weight
from conduit_lab.export.deployment.deployment_files import FILES
from conduit_lab.export.refusal import Refusal
from conduit_lab.runtime.checks import graph
from conduit_lab.runtime.checks.content import file_digest
from conduit_lab.runtime.checks.graph_reader import RECORD
from conduit_lab.vectors.store import VectorStore

# written by the export itself
OWN_FILES = (
    "app.py", "requirements.txt", "examples.jsonl", "test_replay.py", "README.md", "manifest.json",
    ".env.example", "state.json", "proof.svg", RECORD, *FILES,
)  # fmt: skip


# Of a store that needs numkong, which takes 45 MB. Below it, 8-bit codes save at most 0.5 ms of a
# search, less than a tenth of embedding its query: docs/benchmarks.md, Export.
LARGE_STORE_ENTRIES = 16_384

_FLOAT_BYTES = 4


class Assets:
    """Project files, stores and large values; nothing is written before `write`.

    A file below `root`, the app's root, keeps its relative path in the export; any other file goes
    to `models/`. Two files never share a path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._copies: dict[PurePath, Path] = {}  # path in the export → source
        self._writers: dict[PurePath, Callable[[Path], object]] = {}
        # keyed by file content
        self._models: dict[frozenset[tuple[str, bytes]], str] = {}
        self._stores: dict[str, VectorStore] = {}

    def add(self, path: Path, needed_by: str) -> str:
        """Add a file or folder to copy, and return its path in the export."""
        path = Path(os.path.normpath(path))  # `..` must not lead outside the export
        if not path.exists():
            raise Refusal(f"{path} is missing", needed_by, "put it back")
        parts = _files_below(path) if path.is_dir() else graph.files(path)
        inside = path.is_relative_to(self.root)
        place = path.relative_to(self.root) if inside else Path("models", path.name)
        numbers = count(1)
        while not self._free(places := _places(path, parts, place)):
            place = Path("models", str(next(numbers)), path.name)
        self._copies |= places
        return place.as_posix()

    def add_model(self, path: Path, needed_by: str) -> str:
        """Add a model's file or folder; return the known path of equal content."""
        path = Path(os.path.normpath(path))
        if not path.exists():
            return self.add(path, needed_by)  # which reports the missing file
        parts = _files_below(path) if path.is_dir() else graph.files(path)
        # beside a graph, which names the files of its weights
        start = path if path.is_dir() else path.parent
        names = ["" if part == path else str(part.relative_to(start)) for part in parts]
        content = frozenset(zip(names, map(file_digest, parts), strict=True))
        if content not in self._models:
            self._models[content] = self.add(path, needed_by)
        return self._models[content]

    def add_named(self, path: Path, needed_by: str) -> None:
        """Add a file that the source names by its path, which must lie below the root."""
        path = Path(os.path.normpath(path))
        if not path.is_relative_to(self.root):
            raise Refusal(
                f"{path} is outside the root {self.root}",
                needed_by,
                "copy it into the project, or load it to a variable with load_model",
            )
        place = path.relative_to(self.root).as_posix()
        if self.add(path, needed_by) != place:
            raise Refusal(
                f"{path} and another file of the export would both be {place}",
                needed_by,
                "rename it",
            )

    def add_module(self, source: Path) -> list[Path]:
        """Add a module or package of the project, and return its newly added files."""
        parts = _files_below(source) if source.is_dir() else (source,)
        places = _places(source, parts, Path(source.name))
        if not self._free(places):
            raise Refusal(
                f"{source} and another file of the export would both be {source.name}",
                mend="rename the module",
            )
        new = [origin for place, origin in places.items() if place not in self._copies]
        self._copies |= places
        return new

    def add_value(
        self,
        name: str,
        suffix: str,
        write: Callable[[Path], object],
        replaces: Callable[[str], bool] = lambda place: False,
    ) -> str:
        """Reserve `data/<name><suffix>`, which `write` creates later, and return its path.

        A project file keeps that path, even if it is copied later, unless the value `replaces` it,
        as with the file of an opened export that held the previous value.
        """
        place = PurePath("data", name + suffix)
        numbers = count(1)
        while place in self._writers or (
            (self.root / place).exists() and not replaces(place.as_posix())
        ):
            place = PurePath("data", str(next(numbers)), name + suffix)
        self._writers[place] = write
        return place.as_posix()

    def add_store(self, store: VectorStore, label: str) -> None:
        """Write a consistent copy of a store to `indexes/<label>.sqlite`."""
        if self._stores.setdefault(label, store) is not store:
            raise Refusal(
                f"two stores would both be indexes/{label}.sqlite", mend="rename one of them"
            )
        self._writers[PurePath("indexes", f"{label}.sqlite")] = store.save_to

    @property
    def places(self) -> frozenset[PurePath]:
        """The paths of all files in the export."""
        return frozenset([*self._copies, *self._writers])

    @property
    def graphs(self) -> dict[PurePath, Path]:
        """The source files of the ONNX graphs, by their path in the export."""
        return {place: file for place, file in sorted(self._copies.items()) if _is_graph(place)}

    @property
    def stores(self) -> dict[str, VectorStore]:
        """The stores by label, which is the stem of their file in `indexes/`."""
        return dict(self._stores)

    def places_of(self, path: Path) -> list[PurePath]:
        """Return the paths of a copied file in the export."""
        return [place for place, origin in self._copies.items() if origin.samefile(path)]

    def origin(self, place: PurePath) -> Path:
        """Return the source file that is copied to a path."""
        return self._copies[place]

    @property
    def large_stores(self) -> bool:
        """Whether any store is large enough for its searches to need 8-bit codes."""
        return any(len(store) >= LARGE_STORE_ENTRIES for store in self._stores.values())

    @property
    def modules(self) -> set[str]:
        """The names of the project's own modules and packages."""
        python = [place for place in self._copies if place.suffix == ".py"]
        return {place.parts[0].removesuffix(".py") for place in python}

    def sizes(self, places: Iterable[PurePath], value: Any) -> dict[PurePath, int]:
        """Return file sizes in bytes; a file not yet written is estimated from `value`."""
        return {
            place: self._copies[place].stat().st_size if place in self._copies else _bytes(value)
            for place in sorted(places)
        }

    def drop_value(self, place: str) -> None:
        """Release a path that `add_value` reserved."""
        del self._writers[PurePath(place)]

    def write(self, folder: Path) -> None:
        """Write all files below `folder`."""
        for place, origin in self._copies.items():
            shutil.copy2(origin, _made(folder / place))
        for place, write in self._writers.items():
            write(_made(folder / place))

    def _free(self, places: dict[PurePath, Path]) -> bool:
        """Return whether each path is free or already holds the same file."""
        return all(
            self._copies.get(place, origin) == origin
            and place not in self._writers
            and place.as_posix() not in OWN_FILES
            for place, origin in places.items()
        )


def _is_graph(place: PurePath) -> bool:
    return place.suffix == ".onnx"


def _bytes(value: Any) -> int:
    if not isinstance(value, VectorStore):
        return weight(value)
    if value.path is not None and value.path.exists():
        return value.path.stat().st_size
    return len(value) * value.dimension * _FLOAT_BYTES


def _places(path: Path, parts: Iterable[Path], place: Path) -> dict[PurePath, Path]:
    return {place.parent / part.relative_to(path.parent): part for part in parts}


def _files_below(folder: Path) -> list[Path]:
    """List the files of a folder in order, except hidden files and compiled Python."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        found += [Path(place, name) for name in files if name[0] != "."]
    return sorted(found)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
