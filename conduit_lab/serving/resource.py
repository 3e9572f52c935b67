"""App resources: objects that each process builds for itself, such as a connection pool."""

from __future__ import annotations

import atexit
import functools
import inspect
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, overload
from weakref import WeakSet

from conduit_lab.core import views
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.forking import free_in_child
from conduit_lab.core.text import clip
from conduit_lab.core.views.viewed import Viewed

_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)

_MAX_SHOWN_CHARACTERS = 60

_log = logging.getLogger("conduit_lab")


class AppResource(Viewed, Generic[_R_co]):
    """A function whose result is built once per process, on the first call; thread-safe.

    A generator function yields the object, and cleans up when the app stops. A forked child builds
    its own. `inputs` are the names that the function used then, as a lab records them.
    """

    inputs: Any = None

    def __init__(
        self, function: Callable[[], Any], on_built: Callable[[AppResource[Any]], object]
    ) -> None:
        _check(function)
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self._on_built = on_built
        self._lock = threading.RLock()
        self._building = False
        self._held: tuple[int, Any, Any] | None = None  # process, object, generator
        self._inherited: list[Any] = []  # never closed in a forked child: the parent uses them
        free_in_child(self, "_lock")

    def __call__(self) -> _R_co:
        """Return this process's object, building it on the first call."""
        held = self._held
        if held is None or held[0] != os.getpid():
            with self._lock:
                held = self._held
                if held is None or held[0] != os.getpid():
                    self._held = held = self._build()
                    self._on_built(self)
        found: _R_co = held[1]
        return found

    @property
    def is_built(self) -> bool:
        """Whether the object has been built in this process."""
        return self._held is not None and self._held[0] == os.getpid()

    def close(self) -> None:
        """Run the cleanup after the generator's `yield`; the next call builds a new object."""
        with self._lock:
            held, self._held = self._held, None
        if held is None or held[2] is None:
            return
        if held[0] != os.getpid():
            self._inherited.append(held)
            return
        try:
            next(held[2])
        except StopIteration:
            return
        held[2].close()
        raise EndpointError(f"{self.name} expected one yield, got two: yield once")

    def _build(self) -> tuple[int, Any, Any]:
        if self._held is not None:
            self._inherited.append(self._held)
        if self._building:
            raise EndpointError(
                f"{self.name} calls itself while being built: remove the call of {self.name}() "
                "from its function"
            )
        self._building = True
        try:
            if not inspect.isgeneratorfunction(self.function):
                return os.getpid(), self.function(), None
            generator = self.function()
            for value in generator:
                return os.getpid(), value, generator
        finally:
            self._building = False
        raise EndpointError(f"{self.name} expected one yield, got none: yield the object")

    def _view(self) -> views.View:
        held = self._held
        if held is None or not self.is_built:
            return views.View("Resource", self.name, ["not built"])
        built = clip(_shown(held[1]), _MAX_SHOWN_CHARACTERS)
        return views.View("Resource", self.name, [f"built: {built}"])


class AppResources:
    """The resources of an app by name, and the built ones in order of creation.

    `on_built` is called with each resource that has built its object.
    """

    on_built: Callable[[AppResource[Any]], object] | None = None

    def __init__(self) -> None:
        self._known: dict[str, AppResource[Any]] = {}
        self._built: list[AppResource[Any]] = []
        _alive.add(self)

    def add(self, function: Callable[[], Any]) -> AppResource[Any]:
        """Add the resource of a function; close and replace one of the same name."""
        made: AppResource[Any] = AppResource(function, self._note)
        old = self._known.get(made.name)
        self._known[made.name] = made
        if old is not None:
            self._close(old)
        return made

    def close(self) -> None:
        """Close the resources built in this process, newest first."""
        for each in list(self)[::-1]:
            self._close(each)

    def __iter__(self) -> Iterator[AppResource[Any]]:
        return iter(list(self._built))

    def _note(self, resource: AppResource[Any]) -> None:
        if resource in self._built:  # rebuilt, or built by the parent process
            self._built.remove(resource)
        self._built.append(resource)
        if self.on_built is not None:
            self.on_built(resource)

    def _close(self, resource: AppResource[Any]) -> None:
        if resource in self._built:
            self._built.remove(resource)
        try:
            resource.close()
        except Exception:
            _log.exception("resource %s failed to close", resource.name)


class ResourceHost:
    """The part of an app that declares resources."""

    resources: AppResources

    @overload
    def resource(self, function: Callable[[], Iterator[_R]]) -> AppResource[_R]: ...
    @overload
    def resource(self, function: Callable[[], _R]) -> AppResource[_R]: ...
    def resource(self, function: Callable[[], Any]) -> AppResource[Any]:
        """Build the function's result once per process, on its first call.

        For objects that cannot be copied: a connection pool, a thread, a client. A generator
        function yields the object and cleans up after its `yield` when the app stops, newest
        resource first. Running the cell again closes and replaces it.
        """
        return self.resources.add(function)


_alive: WeakSet[AppResources] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close resources that no server has closed."""
    for each in list(_alive):
        each.close()


def _check(function: Any) -> None:
    """Reject a function that needs arguments or an event loop."""
    name = getattr(function, "__name__", None)
    if name is None or not callable(function):
        raise EndpointError(
            f"resource expected a function, got {type(function).__name__}: "
            "put @lab.resource above a def"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise EndpointError(
            f"resource {name} expected def, got async def: build it in a def; its methods may "
            "be awaited"
        )
    needed = [
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise EndpointError(
            f"resource {name} expected no parameters, got {', '.join(needed)}: "
            f"write def {name}(), and read settings inside it"
        )


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"
