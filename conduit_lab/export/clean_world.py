"""Clean world: run an exported app in a process isolated from the session.

The process has only the environment variables that the export names, no files of the project or the
home folder, no packages outside the requirements, and a different working directory.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from conduit_lab.core.errors import ExportError
from conduit_lab.export.environment_keys import ENVIRONMENT_FILE, keys_in
from conduit_lab.export.state.walk import StateLine
from conduit_lab.export.wheel import unpack_wheel

FOLDER_NAME = "prüfung é"  # the copy's name: an app must not depend on the name of its folder

# for a folder without a wheel
_PACKAGE_FOLDER = Path(__file__).parents[2]
_PACKAGE = "package"  # folder of the unpacked wheel
_PROCESS = "conduit_lab.export.proof_process"
_KEPT_VARIABLES = (  # of Python, its libraries and the operating system
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES", "SSL_CERT_FILE",
)  # fmt: skip
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_HEALTH_SECONDS = 2.0
_POLL_SECONDS = 0.05
_MAX_LOG_CHARACTERS = 4000


@dataclass
class World:
    """A started export: its `port`, its `state`, and the reports of its process.

    `missed` holds the top-level modules that the app tried to import but could not find.
    """

    port: int
    state: list[StateLine]
    folder: Path
    _reports: Path
    missed: set[str] = field(default_factory=set)
    _read: int = field(default=0)

    def new_reports(self) -> list[dict[str, str]]:
        """Return new reports: hidden files, missing packages, failed requests."""
        reports = self._new_reports()
        self.missed |= {each["name"] for each in reports if each["kind"] == "missed"}
        return [each for each in reports if each["kind"] != "missed"]

    def _new_reports(self) -> list[dict[str, str]]:
        with self._reports.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        self._read += len(content)
        return [json.loads(line) for line in content.splitlines() if line]


@contextmanager
def clean_world(
    folder: Path,
    *,
    python: str = sys.executable,
    has_wheel: bool = False,
    hidden: Sequence[Path] = (),
    with_state: bool = True,
    missed: set[str] | None = None,
    built: Sequence[str] = (),
) -> Iterator[World]:
    """Start a copy of the app in `folder`; `folder` itself is not changed.

    `python` runs the app, with this package from the wheel in `lib/` unless `has_wheel` says that
    the environment already has it installed. Files below the `hidden` folders and the home folder
    are hidden. `missed` collects the top-level modules that the app tries to import but cannot
    find. The objects of the `built` resources belong to its state. Raises `ExportError` with the
    reason if the app does not start.
    """
    beside = folder.parent if os.access(folder.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".proof-") as place:
        room = Path(place).resolve()
        copy = room / FOLDER_NAME
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".venv", ".git"))
        for name in ("home", "tmp", _PACKAGE):
            (room / name).mkdir()
        wheels = [] if has_wheel else list((folder / "lib").glob("conduit_lab-*.whl"))
        for wheel in wheels:
            unpack_wheel(wheel, room / _PACKAGE)
        package = room / _PACKAGE if wheels else _PACKAGE_FOLDER
        port = _free_port()
        settings = {
            "port": port,
            "reports": str(room / "reports"),
            "state": str(room / "state") if with_state else "",
            "built": list(built),
            "shown": [str(room), *(() if has_wheel else (str(package),))],
            "hidden": [str(path) for path in (*hidden, Path.home())],
        }
        (room / "reports").touch()
        (room / "settings").write_text(json.dumps(settings), "utf-8")
        environ = _environ(copy, room, None if has_wheel else package)
        command = [python, "-m", _PROCESS, str(room / "settings")]
        missed = set() if missed is None else missed
        world = World(port, [], copy, room / "reports", missed)
        try:
            with _process(command, copy, environ, port):
                if with_state:
                    lines = json.loads((room / "state").read_text("utf-8"))
                    world.state = [StateLine(*line) for line in lines]
                yield world
        except _NotStarted as error:
            reasons = explained(world.new_reports(), str(error))
            text = "\n".join([str(error), *reasons])
            raise ExportError(f"the exported app did not start:\n{text}") from None
        finally:
            world.new_reports()


@contextmanager
def running(
    folder: Path, *, python: str = sys.executable, environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Serve the app in `folder` on a free loopback port, and yield the port once it responds."""
    port = _free_port()
    command = [python, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    environ = {**(os.environ if environ is None else environ), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        with _process(command, folder, environ, port):
            yield port
    except _NotStarted as error:
        raise ExportError(f"the exported app did not start:\n{error}") from None


def explained(reports: Sequence[Mapping[str, str]], log: str) -> list[str]:
    """Return a sentence with the fix for each hidden file, and each package missing per the `log`.

    Packages that libraries only try to import, and do without, are not reported.
    """
    found = []
    for report in reports:
        if report["kind"] == "file":
            verb = "would write" if report["writes"] else "opened"
            found.append(
                f"It {verb} {report['path']}, which is not in the export: load it in a cell, "
                "and use that name in the function; or keep it in the project and load it in an "
                "@lab.resource function"
            )
        elif report["kind"] == "package" and f"'{report['name']}'" in log:
            found.append(
                f"It imports {report['name']}, which is installed here and not among the "
                f"requirements: write import {report['name']} in a cell whose names it uses"
            )
    return list(dict.fromkeys(found))


class _NotStarted(Exception):
    """The process exited or did not respond in time; the message is the end of its output."""


@contextmanager
def _process(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], port: int
) -> Iterator[None]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = monotonic() + _START_SECONDS
            while not _healthy(port):
                if process.poll() is not None or monotonic() > deadline:
                    output.seek(0)
                    text = output.read().decode("utf-8", "replace").strip()
                    raise _NotStarted(text[-_MAX_LOG_CHARACTERS:])
                sleep(_POLL_SECONDS)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environ(folder: Path, room: Path, package: Path | None) -> dict[str, str]:
    """Return the environment: the variables that Python needs and those that the export names.

    `package` is the folder of this package, or None if `python` has it installed.
    """
    names = [*_KEPT_VARIABLES, *keys_in(folder / ENVIRONMENT_FILE)]
    environ = {name: os.environ[name] for name in names if name in os.environ}
    environ |= {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    environ |= {"HOME": str(room / "home"), "TMPDIR": str(room / "tmp")}
    if package is not None:
        paths = [str(package)]
        own = site.getusersitepackages()
        paths += [own] if own in sys.path else []
        environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
