"""`python -m tests.export.notebooks [--process] [WORD…]`: the verdict of each notebook, as a table.

Notebooks whose name or module holds one of the words, by default all; in real kernels, two at a
time, or with `--process` in this one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from tests.export.notebooks.collection import KINDS
from tests.export.notebooks.in_process import run_in_process
from tests.export.notebooks.kernel import run_in_kernel
from tests.export.notebooks.known_wrong import KNOWN_WRONG
from tests.export.notebooks.notebook import Notebook
from tests.export.notebooks.verdict import Verdict, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--process", action="store_true")
    options = parser.parse_args()
    chosen = [
        each
        for kind, notebooks in KINDS.items()
        for each in notebooks
        if not options.words or any(word in f"{kind}: {each.name}" for word in options.words)
    ]
    if options.process:
        chosen = [each for each in chosen if not each.in_kernel]
    start, out = perf_counter(), sys.stdout  # a session in process redirects it
    run = run_in_process if options.process else run_in_kernel
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(1 if options.process else 2) as pool,
    ):

        def one(notebook: Notebook) -> Verdict:
            place = Path(folder, str(id(notebook)))
            place.mkdir()
            try:
                return run(notebook, place)
            except Exception as error:  # of the notebook, or of its kernel
                return Verdict("not run", repr(error).replace("\\n", "\n"))

        verdicts = []
        for notebook, found in zip(chosen, pool.map(one, chosen), strict=True):
            verdicts.append(found)
            if not found.is_right or options.words:
                known = " (known)" if notebook.name in KNOWN_WRONG else ""
                out.write(f"{notebook.name}: {found.word}{known}\n    {found.detail}\n")
                out.flush()
    out.write(f"{table(verdicts)}\n")
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    elapsed = perf_counter() - start
    out.write(f"{len(verdicts)} notebooks, {seconds:.0f} CPU s, {elapsed:.0f} s\n")


if __name__ == "__main__":
    main()
