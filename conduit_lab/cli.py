"""The command line: `conduit-lab serve | check | lock | optimize | …`, listed by `--help`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from conduit_lab.core.collector import paused_collector
from conduit_lab.core.errors import ConduitError, ServeError
from conduit_lab.core.views import figures, html

# BLAS threads, used by NumPy, spin between runs and double the CPU time of a request
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; print the package's own errors as one line."""
    parser = argparse.ArgumentParser(
        prog="conduit-lab", description=__doc__.partition(":")[0] + "."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("devices", help="list the hardware and the device in use")
    command.add_argument("--check", action="store_true", help="test each accelerator with a model")
    command.set_defaults(run=_devices)
    command = commands.add_parser("serve", help="serve an exported folder")
    command.add_argument("folder", type=Path, nargs="?", default=Path())
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=8000)
    command.add_argument(
        "--pre-stop",
        type=float,
        default=0.0,
        help="seconds between /readyz answering 503 and the shutdown",
    )
    command.add_argument(
        "--insecure", action="store_true", help="allow callers without a key on a public --host"
    )
    command.add_argument(
        "--grace",
        type=float,
        default=10.0,
        help="seconds for open requests on shutdown; then streams end with an error event",
    )
    command.add_argument(
        "--workers", type=int, default=1, help="number of processes that share the port"
    )
    command.add_argument("--log", choices=("text", "json"), default="text", help="log format")
    command.set_defaults(run=_serve)
    command = commands.add_parser("key", help="create a key for callers of a served app")
    command.add_argument("name", help="the caller's name, such as a team or a program")
    command.add_argument("--tenant", help="the tenant whose stores and usage the key can access")
    command.add_argument("--requests-per-minute", type=int)
    command.add_argument("--tokens-per-day", type=int)
    command.set_defaults(run=_key)
    command = commands.add_parser(
        "mcp", help="serve an exported folder to the agent that started this command, by stdio"
    )
    command.add_argument("folder", type=Path, nargs="?", default=Path())
    command.set_defaults(run=_mcp)
    command = commands.add_parser(
        "check", help="start an exported folder and compare its answers with the recorded ones"
    )
    command.add_argument("folder", type=Path, nargs="?", default=Path())
    command.add_argument(
        "--url", help="use the app running at this address instead of starting one"
    )
    command.add_argument(
        "--key",
        default=os.environ.get("CONDUIT_LAB_KEY", ""),
        help="the key for --url, by default the environment variable CONDUIT_LAB_KEY",
    )
    command.add_argument(
        "--writes", action="store_true", help="with --url, also make calls that write"
    )
    command.set_defaults(run=_check)
    command = commands.add_parser(
        "lock", help="add hashes to the requirements of an exported folder, from the package index"
    )
    command.add_argument("folder", type=Path, nargs="?", default=Path())
    command.set_defaults(run=_lock)
    command = commands.add_parser(
        "optimize", help="write a smaller or faster form of a model next to it"
    )
    command.add_argument("model", help="an .onnx file or an embedding model folder")
    command.add_argument("kind", choices=("int8", "fp16", "int4", "graph"))
    command.add_argument(
        "--tolerance", type=float, help="maximum relative difference from the original's outputs"
    )
    command.set_defaults(run=_optimize)
    command = commands.add_parser("lab", help="open JupyterLab")
    command.add_argument("notebook", nargs="?", default=".")
    command.set_defaults(run=_lab)
    command = commands.add_parser(
        "demo", help="run a notebook, export its app, start it and send it requests"
    )
    command.add_argument("notebook", type=Path, nargs="?", default=Path("notebooks/01_tour.ipynb"))
    command.set_defaults(run=_demo)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except ConduitError as error:
        print(f"conduit-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _devices(options: argparse.Namespace) -> int:
    from conduit_lab.runtime.hardware.devices import devices

    print(devices(), flush=True)
    if not options.check:
        return 0
    from conduit_lab.runtime.measuring.probe import check_accelerators

    report = check_accelerators()
    print(f"\n{report}")
    return int(not report.good)


def _serve(options: argparse.Namespace) -> int:
    if not (options.folder / "app.py").is_file():
        raise ServeError(f"no app.py in {options.folder}: serve an exported folder")
    if options.workers < 1:
        raise ServeError(f"--workers expected 1 or more, got {options.workers}")
    for variable in _BLAS_THREADS:
        os.environ.setdefault(variable, "1")
    # imports create no garbage, and each full collection would traverse all loaded modules
    with paused_collector():  # until it is serving
        from conduit_lab.serving.run.process import serve

        return serve(
            options.folder.resolve(),
            options.host,
            options.port,
            pre_stop=options.pre_stop,
            grace=options.grace,
            workers=options.workers,
            log=options.log,
            insecure=options.insecure,
        )


def _key(options: argparse.Namespace) -> int:
    from conduit_lab.serving.gate.keys import KEYS_VARIABLE, new_key

    secret, key = new_key(
        options.name,
        tenant=options.tenant,
        requests_per_minute=options.requests_per_minute,
        tokens_per_day=options.tokens_per_day,
    )
    print(f"the key, shown only once; give it to its caller:\n  {secret}")
    print("its hash, for the server's environment (separate several keys with spaces):")
    print(f"  {KEYS_VARIABLE}='{key.line()}'")
    return 0


def _mcp(options: argparse.Namespace) -> int:
    from conduit_lab.serving.run.stdio import serve_stdio

    if not (options.folder / "app.py").is_file():
        raise ServeError(f"no app.py in {options.folder}: pass an exported folder")
    return serve_stdio(options.folder.resolve())


def _check(options: argparse.Namespace) -> int:
    from conduit_lab.export.replay import recorded_examples, replay, replay_at
    from conduit_lab.export.web.web_writer import is_page, replay_page

    folder = options.folder.resolve()
    if options.url:
        examples = recorded_examples(folder)
        outcomes = replay_at(options.url, examples, key=options.key, writes=options.writes)
    else:
        outcomes = replay_page(folder) if is_page(folder) else replay(folder)
    rows = [
        (
            f"{o.example.method} {o.example.path}",
            o.verdict,
            figures.seconds(o.seconds),
        )
        for o in outcomes
    ]
    print(html.columns(("endpoint", "replay", "time"), rows, numeric=("time",)))
    return int(any(outcome.problem for outcome in outcomes))


def _lock(options: argparse.Namespace) -> int:
    from conduit_lab.export.lock import lock_folder

    print(lock_folder(options.folder))
    return 0


def _optimize(options: argparse.Namespace) -> int:
    from conduit_lab.models.measure.optimize import optimize

    print(optimize(options.model, options.kind, tolerance=options.tolerance))
    return 0


def _lab(options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "jupyter", "lab", options.notebook]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # common in containers
        command.append("--allow-root")
    return subprocess.call(command)


def _demo(options: argparse.Namespace) -> int:
    from conduit_lab.demo import run_demo

    return run_demo(options.notebook)
