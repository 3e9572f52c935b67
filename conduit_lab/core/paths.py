"""The root at which relative paths start: the same in a notebook, a script and an exported app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_root: ContextVar[Path | None] = ContextVar("conduit_lab_root", default=None)

# The two halves of `use_root`, for the request path, where a context manager costs more than a
# call.
enter_root, leave_root = _root.set, _root.reset


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder with a `pyproject.toml`, from `start` (default: here) upwards.

    Without one, return `start`.
    """
    here = (start or Path.cwd()).resolve()
    return next(
        (folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here
    )


def current_root() -> Path:
    """Return the root of the app whose endpoint is running, or else `find_root()`."""
    return _root.get() or find_root()


def has_project() -> bool:
    """Return whether relative paths start at a project's root rather than the working directory."""
    return _root.get() is not None or (find_root() / "pyproject.toml").is_file()


@contextmanager
def use_root(root: Path) -> Iterator[None]:
    """Make `root` the current root for this thread or task."""
    token = _root.set(root)
    try:
        yield
    finally:
        _root.reset(token)


def resolve(path: str | Path, root: Path | None = None) -> Path:
    """Return `path` as absolute; a relative one starts at `root` (default: the current root)."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else (root or current_root()) / path


def display(path: Path) -> str:
    """Return `path` relative to the current root if it lies inside it, or else unchanged."""
    root = current_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
