"""The export of the tour: CPU time per step, the start of its app, its size and its installed size.

Run it with `.venv/bin/python benchmarks/export.py [--rounds 3] [--quick]`. The cells of
`notebooks/01_tour.ipynb` run in a shell of this process, in a folder with the project's data; then
the app is exported without and with the proof, in turn. CPU time includes the processes that an
export starts. `--quick` leaves the installed sizes out: those need pip and its package index, and
install the requirements of four exports in new environments.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple
from unittest import mock

from imports import started
from served_process import CLI

from conduit_lab import Lab
from conduit_lab.core.views import figures
from conduit_lab.export import writer
from conduit_lab.export.deployment.container import STRIP
from conduit_lab.export.environment import make_environment
from conduit_lab.export.export_plan import ExportPlan
from conduit_lab.notebook.cell_recorder import CellRecorder

ROUNDS = 3
PLAIN_TARGET, PROVED_TARGET, START_TARGET = 0.5, 5.0, 1.5  # seconds
RUNTIME_BYTES, PLAIN_BYTES = 200e6, 110e6
SMALL_STORE, LARGE_STORE = 5_000, 50_000  # entries: without and with numkong

REPOSITORY = Path(__file__).parents[1]
TOUR = REPOSITORY / "notebooks" / "01_tour.ipynb"
STEPS: dict[str, list[tuple[Any, str]]] = {  # the functions of each step of an export
    "plan": [(writer, "Closure"), (ExportPlan, "of")],
    "check": [(writer, "check_source"), (writer, "check_files")],
    "write": [(writer, "_write"), (writer, "_write_examples"), (writer, "_write_manifest")],
    "prove: the session": [(writer, "app_state"), (writer, "asked_again"), (writer, "refreshed")],
    "prove: the started app": [(writer, "prove")],
}

_PLAIN = """
from conduit_lab import Lab

lab = Lab("plain", root=".")

@lab.post("/add")
def add(n: int):
    return n + 1

add(1)
lab.export("out")
"""
_STORE = """
import numpy as np
from conduit_lab import Lab

lab = Lab("store", root=".")
embedder = lab.load_model("data/models/minilm")
notes = lab.vector_store("notes", embedder=embedder)
vectors = np.random.default_rng(0).standard_normal((ENTRIES, 384)).astype(np.float32)
notes.add_many([str(number) for number in range(ENTRIES)], vectors)

@lab.post("/search")
def search(query: str):
    return notes.search(query, top_k=3)

search("a kettle")
lab.export("out")
"""

Row = tuple[str, str, str]
Seconds = defaultdict[str, float]  # by step


class Export(NamedTuple):
    """One export: its CPU seconds, in all and by step, and its wall seconds."""

    cpu: float
    wall: float
    steps: Seconds


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the ended ones that it started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + ended.ru_utime + ended.ru_stime


@contextmanager
def counted(steps: Seconds, name: str, owner: Any, function: str) -> Iterator[None]:
    """Add the CPU seconds of a function's calls to a step while the block runs."""
    original = getattr(owner, function)

    def measured(*arguments: Any, **options: Any) -> Any:
        begin = cpu_seconds()
        try:
            return original(*arguments, **options)
        finally:
            steps[name] += cpu_seconds() - begin

    with mock.patch.object(owner, function, measured):
        yield


@contextmanager
def toured(root: Path, recording: Seconds) -> Iterator[Lab]:
    """Run the tour's cells but its export in a shell, with `root` as the project; give its lab."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    (root / "pyproject.toml").touch()
    (root / "data").symlink_to(REPOSITORY / "data")
    cells = json.loads(TOUR.read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    with ExitStack() as stack:
        stack.enter_context(chdir(root))
        stack.enter_context(mock.patch.dict(os.environ, CONDUIT_LAB_PROGRESS="0"))
        for hook in ("_before", "_after"):  # called after each cell of the session
            stack.enter_context(counted(recording, "record", CellRecorder, hook))
        config = Config(HistoryManager={"enabled": False})
        shell = InteractiveShell.instance(config=config)
        with redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))):
            for source in sources:
                if "lab.export(" not in source:
                    shell.run_cell(source, store_history=True).raise_error()
        yield shell.user_ns["lab"]


def exported(lab: Lab, folder: str, **options: Any) -> tuple[Export, Any]:
    """Export, and return the measurement with the result."""
    steps: Seconds = defaultdict(float)
    with ExitStack() as stack:
        for name, functions in STEPS.items():
            for owner, function in functions:
                stack.enter_context(counted(steps, name, owner, function))
        begin, wall = cpu_seconds(), perf_counter()
        result = lab.export(folder, **options)
        return Export(cpu_seconds() - begin, perf_counter() - wall, steps), result


def rows(place: Path, rounds: int, *, is_quick: bool) -> Iterator[Row]:
    """Yield the rows of the table."""
    recording: Seconds = defaultdict(float)
    with toured(place, recording) as lab:
        for stream in lab.streams:
            stream.wait()
        first, _ = exported(lab, "build/plain", proof=None)
        yield "record: the cells of the tour", "", figures.seconds(recording["record"])
        pairs = []
        for _ in range(rounds):
            plain, _ = exported(lab, "build/plain", proof=None)
            proved, result = exported(lab, "build/tour")
            pairs.append((plain, proved))
    yield "export without the proof, the first one", "", figures.seconds(first.cpu)
    yield from _export_rows("export without the proof", PLAIN_TARGET, [a for a, _ in pairs])
    yield from _export_rows("export with the proof", PROVED_TARGET, [b for _, b in pairs])
    nodes = figures.count(result.objects)
    yield "nodes of the state proof", "", nodes
    files = [path for path in result.folder.rglob("*") if path.is_file()]
    size = figures.size(sum(path.stat().st_size for path in files))
    yield "size of the folder", "", f"{size}, {len(files)} files"
    yield from _start_rows(result.folder, rounds)
    if not is_quick:
        yield from installed_rows(result.folder)


def _export_rows(name: str, target: float, exports: list[Export]) -> Iterator[Row]:
    least = min(exports, key=lambda each: each.cpu)
    wall = figures.seconds(statistics.median(each.wall for each in exports))
    yield f"**{name}**, CPU", figures.seconds(target), f"{figures.seconds(least.cpu)}, wall {wall}"
    for step, seconds in least.steps.items():
        yield f"{step}", "", figures.seconds(seconds)


def installed_rows(tour: Path) -> Iterator[Row]:
    """Yield the installed sizes of exports: with onnxruntime, without, and with stores."""
    runtime, plain = _size(RUNTIME_BYTES), _size(PLAIN_BYTES)
    yield _installed_row("the tour, with onnxruntime", runtime, tour)
    for name, target, source in (
        ("plain functions, without a model", plain, _PLAIN),
        *(
            (
                f"a store of {entries:,} entries and its embedder",
                runtime,
                _STORE.replace("ENTRIES", str(entries)),
            )
            for entries in (SMALL_STORE, LARGE_STORE)
        ),
    ):
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "data").symlink_to(REPOSITORY / "data")
            environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            Path(place, "session.py").write_text(source)  # a file, whose source can be read
            subprocess.run([sys.executable, "session.py"], cwd=place, env=environ, check=True)
            yield _installed_row(name, target, Path(place, "out"))


def _installed_row(name: str, target: str, folder: Path) -> Row:
    """Install the requirements of an export in a new environment, and return its size there."""
    with tempfile.TemporaryDirectory() as place:
        python = make_environment(folder, Path(place, "environment"))
        shown = _installed_size(python)
        if "numkong==" in (folder / "requirements.txt").read_text("utf-8"):
            subprocess.run(STRIP.format(environment=python.parents[1]), shell=True, check=True)
            shown = f"{_installed_size(python)}, as in the image; by pip alone {shown}"
    return f"installed: {name}", target, shown


def _installed_size(python: Path) -> str:
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    files = [
        path
        for path in packages.rglob("*")
        if path.is_file()
        and path.relative_to(packages).parts[0].partition("-")[0] not in ("pip", "setuptools")
    ]
    whole = sum(path.stat().st_size for path in files)
    plain = sum(path.stat().st_size for path in files if path.suffix != ".pyc")
    return f"{_size(plain)}, {_size(whole)} with compiled files"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB"  # as the targets count


def _start_rows(folder: Path, rounds: int) -> Iterator[Row]:
    first = json.loads((folder / "examples.jsonl").read_text("utf-8").split("\n")[0])
    body = json.dumps(first["payload"]).encode()
    command = [*CLI, "serve", str(folder), "--port", "PORT"]
    times = [started(command, first["path"], body) for _ in range(rounds + 1)][1:]
    wall, cpu = min(each.wall for each in times), min(each.cpu for each in times)
    shown = f"{figures.seconds(wall)}, CPU {figures.seconds(cpu)}"
    name = f"the started app, to its first answer ({first['path']})"
    yield name, figures.seconds(START_TARGET), shown


def main() -> None:
    """Measure, and print the table as `docs/benchmarks.md` keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="without the installed sizes")
    options = parser.parse_args()
    compileall.compile_dir(REPOSITORY / "conduit_lab", quiet=1)  # as pip does on installation
    print("| what | target | measured |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for row in rows(Path(place), options.rounds, is_quick=options.quick):
            print(f"| {' | '.join(row)} |", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
