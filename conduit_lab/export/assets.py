"""Assets: the files of an export, each with its place and its origin."""

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
from conduit_lab.vectors.index.accelerators import INT8_ROWS
from conduit_lab.vectors.store import VectorStore

# the writer's own files
OWN_FILES = (
    "app.py", "requirements.txt", "examples.jsonl", "test_replay.py", "README.md", "manifest.json",
    ".env.example", "state.json", "proof.svg", RECORD, *FILES,
)  # fmt: skip


_FLOAT_BYTES = 4


class Assets:
    """Files of the project, stores and large values; nothing is written before `write`.

    A file below `root`, the app's root, keeps its place in the export; any other one goes to
    `models/`. Two files never share a place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._copies: dict[PurePath, Path] = {}  # place in the export → origin
        self._writers: dict[PurePath, Callable[[Path], object]] = {}
        self._models: dict[frozenset[tuple[str, bytes]], str] = {}  # by their files' contents
        self._stores: dict[str, VectorStore] = {}

    def add(self, path: Path, needed_by: str) -> str:
        """Copy a file or folder, and return its place in the export."""
        path = Path(os.path.normpath(path))  # `..` must not lead out of the export
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
        """Copy a model's file or folder, or return the place of one with the same content."""
        path = Path(os.path.normpath(path))
        if not path.exists():
            return self.add(path, needed_by)  # which refuses it
        parts = _files_below(path) if path.is_dir() else graph.files(path)
        # beside a graph, which names the files of its weights
        start = path if path.is_dir() else path.parent
        names = ["" if part == path else str(part.relative_to(start)) for part in parts]
        content = frozenset(zip(names, map(file_digest, parts), strict=True))
        if content not in self._models:
            self._models[content] = self.add(path, needed_by)
        return self._models[content]

    def add_named(self, path: Path, needed_by: str) -> None:
        """Copy a file that the source names by its path, which must lie below the root."""
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
        """Copy a module or package of the project, and return its files that are new here."""
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
        """Reserve `data/<name><suffix>`, which `write` makes later, and return its place.

        A file of the project keeps that place, also one that is copied later, unless the value
        `replaces` it: the file of an opened export that held the value before.
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
        """Write a consistent copy of a store as `indexes/<label>.sqlite`."""
        if self._stores.setdefault(label, store) is not store:
            raise Refusal(
                f"two stores would both be indexes/{label}.sqlite", mend="give one another name"
            )
        self._writers[PurePath("indexes", f"{label}.sqlite")] = store.save_to

    @property
    def places(self) -> frozenset[PurePath]:
        """The places of all files."""
        return frozenset([*self._copies, *self._writers])

    @property
    def graphs(self) -> dict[PurePath, Path]:
        """The origins of the ONNX files among them, by their places."""
        return {place: file for place, file in sorted(self._copies.items()) if _is_graph(place)}

    @property
    def stores(self) -> dict[str, VectorStore]:
        """The stores by the label of their file below `indexes/`."""
        return dict(self._stores)

    def places_of(self, path: Path) -> list[PurePath]:
        """Return the places of a copied file."""
        return [place for place, origin in self._copies.items() if origin.samefile(path)]

    def origin(self, place: PurePath) -> Path:
        """Return the file that was copied to a place."""
        return self._copies[place]

    @property
    def large_stores(self) -> bool:
        """Whether a store has enough entries for its searches to use codes."""
        return any(len(store) >= INT8_ROWS for store in self._stores.values())

    @property
    def modules(self) -> set[str]:
        """The names of the project's modules and packages among them."""
        python = [place for place in self._copies if place.suffix == ".py"]
        return {place.parts[0].removesuffix(".py") for place in python}

    def sizes(self, places: Iterable[PurePath], value: Any) -> dict[PurePath, int]:
        """Return the bytes of files; of those that are yet to be made about those of `value`."""
        return {
            place: self._copies[place].stat().st_size if place in self._copies else _bytes(value)
            for place in sorted(places)
        }

    def drop_value(self, place: str) -> None:
        """Take back a place that `add_value` reserved."""
        del self._writers[PurePath(place)]

    def write(self, folder: Path) -> None:
        """Write all files below `folder`."""
        for place, origin in self._copies.items():
            shutil.copy2(origin, _made(folder / place))
        for place, write in self._writers.items():
            write(_made(folder / place))

    def _free(self, places: dict[PurePath, Path]) -> bool:
        """Return whether each of these files may have its place."""
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
    """Return the files of a folder in order, without hidden ones and compiled Python."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        found += [Path(place, name) for name in files if name[0] != "."]
    return sorted(found)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
