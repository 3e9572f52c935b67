"""Models with `remote=True` on Ray Serve: each runs in a deployment, and the app asks that."""

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

RUN_TRIES = 5  # of a run whose replica ends: it changes nothing there, so it is made again
FIRST_PAUSE_SECONDS = 0.1  # before the second try; doubled for each further one


def hosted(app: App, name: str) -> HostedSession:
    """Open one model of an app, to run it for the replicas of the app."""
    return HostedSession(_remote_models(app, name)[-1].open().shared)


def use_deployments(app: App, deployments: Mapping[str, str], handle: Callable[[str], Any]) -> None:
    """Let the models of `app` run in their deployments; `deployments` names the model of each.

    `handle` returns the deployment's handle. Opens nothing.
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
    """The runs of a model by the handle of its deployment; thread-safe.

    An error of the model is raised as it is. A run whose replica ends is made again by another one.
    """

    def __init__(self, name: str, handle: Any) -> None:
        self.name = name
        self._handle = handle
        self._threads: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def facts(self) -> SessionFacts:
        """Return the facts of the model; waits for a replica of the deployment."""
        facts: SessionFacts = self._result("facts")
        return facts

    def run(self, feeds: dict[str, Array]) -> Sequence[Any]:
        """Return the outputs of one run."""
        outputs: Sequence[Any] = self._result("run", feeds)
        return outputs

    def _result(self, method: str, *arguments: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._tried(method, *arguments)
        # a handler that blocks its loop, which Ray Serve refuses: the answer comes by a thread
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
