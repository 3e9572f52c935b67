"""Models with `remote=True` on Ray Serve: each runs in a deployment of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import Array
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.load import loose_remote_models
from conduit_lab.runtime.batching.hosted import HostedSession
from conduit_lab.runtime.sessions.remote import SessionFacts
from conduit_lab.serving.app import App

RUN_TRIES = 5  # runs have no side effects, so one whose replica dies is retried
FIRST_PAUSE_SECONDS = 0.1  # before the second try, doubled for each further one


def hosted(app: App, name: str) -> HostedSession:
    """Open one model of an app to run it for the app's replicas."""
    return HostedSession(_remote_models(app, name)[-1].open().shared)


def use_deployments(app: App, deployments: Mapping[str, str], handle: Callable[[str], Any]) -> None:
    """Run the models of `app` in Ray Serve deployments; `deployments` maps each to its model.

    `handle` returns a deployment's handle. Opens no model.
    """
    for deployment, name in deployments.items():
        runs = DeploymentRuns(deployment, handle(deployment))
        for model in _remote_models(app, name):
            model.run_elsewhere(runs)


def _remote_models(app: App, name: str) -> list[FileModel[Any]]:
    """Return the models of a name with `remote=True`: of the app's modules, then of the app.

    A module of the project may load its own, by `load_model`. Raises `UnknownName` for a name of
    none.
    """
    own = [model for model in app.models.in_use if isinstance(model, FileModel)]
    known = [*loose_remote_models, *own]
    found = [model for model in known if model.remote and model.name == name]
    return found or [app.models[name]]


class DeploymentRuns:
    """Runs a model through the handle of its deployment; thread-safe.

    Errors of the model are raised unchanged. A run whose replica dies is retried on another one.
    """

    def __init__(self, name: str, handle: Any) -> None:
        self.name = name
        self._handle = handle
        self._threads: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def facts(self) -> SessionFacts:
        """Return the facts of the model; wait for a replica of the deployment."""
        facts: SessionFacts = self._result("facts")
        return facts

    def run(self, feeds: dict[str, Array]) -> Sequence[Any]:
        """Run the model and return its outputs."""
        outputs: Sequence[Any] = self._result("run", feeds)
        return outputs

    def _result(self, method: str, *arguments: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._tried(method, *arguments)
        # Ray Serve rejects a blocking call on the event loop: make it on a thread
        return self._pool().submit(self._tried, method, *arguments).result()

    def _tried(self, method: str, *arguments: Any) -> Any:
        from ray import exceptions

        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(RUN_TRIES)):
            try:
                return getattr(self._handle, method).remote(*arguments).result()
            except exceptions.RayTaskError as error:
                raise error.cause from error
            except exceptions.RayActorError as error:
                if not left:
                    raise ModelRunError(
                        f"the deployment {self.name!r} lost {RUN_TRIES} replicas during one run: "
                        f"{error}"
                    ) from error
            sleep(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _pool(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(thread_name_prefix=self.name)
            return self._threads
