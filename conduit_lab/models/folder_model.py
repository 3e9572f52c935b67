"""FolderModel: a model stored as a folder with a choice of graphs."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Protocol, TypeVar

from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.models.file_model import FileModel, Opened
from conduit_lab.runtime.measuring.tuning import read_tuning
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.session import Options


class OpenedFolder(Opened, Protocol):
    """An opened folder."""

    @property
    def graph(self) -> Path:
        """The folder's graph; the session may have opened an equal file elsewhere."""


_Parts = TypeVar("_Parts", bound=OpenedFolder)


class FolderModel(FileModel[_Parts]):
    """A model in the folder at `path`; `variant` selects a graph other than `model.onnx`."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        fallback: bool | None = None,
        name: str | None = None,
        timeout: float | None = None,
        variant: str | None = None,
    ) -> None:
        super().__init__(path, name or path.name, Options(device, fallback, timeout=timeout))
        self.variant = variant

    def _open_session(self, graph: Path) -> Shared:
        """Open a graph of the folder with the model's options, or the options that `tune` saved."""
        tuned = read_tuning(graph)
        return sessions.open(graph, self.options if tuned is None else tuned.options(self.options))

    def _facts(self) -> list[tuple[str, str]]:
        rows = [("folder", display(self.path))]
        opened = self._opened
        if opened is None:
            return [*rows, ("state", "not opened yet")]
        shared = opened.shared
        graph = opened.graph.relative_to(self.path).as_posix()
        rows.append(("graph", f"{graph}, {figures.size(shared.size)}"))
        rows.append(("device", f"{shared.state} ({shared.note})" if shared.note else shared.state))
        return rows + self._more_facts(opened)

    @abstractmethod
    def _more_facts(self, opened: _Parts) -> list[tuple[str, str]]:
        """Return the rows of the repr specific to this kind of model."""
