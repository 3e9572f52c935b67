"""FolderModel: a model that is a folder, with a graph of its own choice in it."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Protocol, TypeVar

from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.models.file_model import FileModel, Opened
from conduit_lab.runtime.sessions.session import Options


class OpenedFolder(Opened, Protocol):
    """What a folder gave."""

    @property
    def graph(self) -> Path:
        """The folder's file; the session's own may be another folder's, with the same content."""


Parts = TypeVar("Parts", bound=OpenedFolder)


class FolderModel(FileModel[Parts]):
    """A model in the folder at `path`; `variant` chooses another of its graphs than `model.onnx`."""

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

    def _facts(self) -> list[tuple[str, str]]:
        rows = [("folder", display(self.path))]
        opened = self._opened
        if opened is None:
            return [*rows, ("state", "not opened yet")]
        shared = opened.shared
        rows.append(
            (
                "graph",
                f"{opened.graph.relative_to(self.path).as_posix()}, {figures.size(shared.size)}",
            )
        )
        rows.append(("device", f"{shared.state} ({shared.note})" if shared.note else shared.state))
        return rows + self._more_facts(opened)

    @abstractmethod
    def _more_facts(self, opened: Parts) -> list[tuple[str, str]]:
        """The rows of the repr that only this kind of model has."""
