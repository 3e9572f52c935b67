"""LazyParallel: a Parallel that runs some members only when their result is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Stage
from conduit_lab.core.trace import recorder
from conduit_lab.core.weight import weight
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.parallel import Parallel


class LazyResults(MutableMapping[str, Any]):
    """Results by name, in the order of `names`; a missing one is computed when it is read.

    It is read, changed, merged and unpacked like a dict, and `isinstance` accepts it as one. It is
    not a real subclass: C code, such as a JSON encoder, would access a dict's storage directly and
    silently miss results. Its repr, which debuggers and event loops call, computes nothing; `str`
    does.
    """

    __slots__ = ("_compute", "_names", "_results")

    def __init__(
        self, results: dict[str, Any], names: Sequence[str], compute: Callable[[str], Any]
    ) -> None:
        self._results = results
        self._names = dict.fromkeys(names)
        self._compute = compute

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return dict

    def __getitem__(self, name: str) -> Any:
        try:
            return self._results[name]
        except KeyError:
            if name not in self._names:
                raise
        return self._results.setdefault(name, self._compute(name))

    def __setitem__(self, name: str, value: Any) -> None:
        self._results[name] = value
        self._names[name] = None

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        self._results.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last item, like a dict."""
        if not self._names:
            raise KeyError("popitem(): dictionary is empty")
        name = next(reversed(self._names))
        return name, self.pop(name)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __ior__(self, other: Any) -> LazyResults:
        self.update(other)
        return self

    def copy(self) -> dict[str, Any]:
        """Return all results as a dict."""
        return dict(self)

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    @property
    def nbytes(self) -> int:
        """The approximate size of the results so far; `weight` would otherwise compute all."""
        return weight(self._results)

    def __str__(self) -> str:
        return str(dict(self))

    def __repr__(self) -> str:
        results = self._results
        items = (f"{n!r}: {results[n]!r}" if n in results else f"{n!r}: …" for n in self._names)
        return f"{{{', '.join(items)}}}"


class LazyParallel(Combinator):
    """A Parallel whose members named in `lazy` run only when their result is read.

    `compile` creates it from a Parallel if the samples read only some results. A lazy result is
    computed on first access, from the value of the call, and its span is a child of the reader's.
    Errors of members that are never read are never raised.
    """

    def __init__(self, parallel: Parallel, *, lazy: Sequence[str], name: str = "parallel") -> None:
        unknown = [each for each in lazy if each not in parallel.stages]
        if unknown:
            raise CompositionError(
                f"LazyParallel {name!r} has no {unknown[0]!r}: expected some of "
                f"{', '.join(parallel.stages)}"
            )
        self.parallel = parallel
        self.lazy = tuple(lazy)
        self.name = name
        read = {key: stage for key, stage in parallel.stages.items() if key not in self.lazy}
        self._read = Parallel(read, name=parallel.name)
        self._detail = f"not run until read: {', '.join(self.lazy)}"

    @property
    def children(self) -> tuple[Stage, ...]:
        """The parallel, with all of its stages."""
        return (self.parallel,)

    @property
    def decision(self) -> Any:
        """The threads used for the members that are read, as in `Parallel.decision`."""
        return getattr(self._read, "decision", None)

    def _settings(self) -> dict[str, Any]:
        return {"lazy": self.lazy}

    def run(self, value: Any) -> LazyResults:
        """Run the members that are not lazy."""
        return self._results(self._read.run(value), value)

    async def arun(self, value: Any) -> LazyResults:
        """Await the members that are not lazy, concurrently."""
        return self._results(await self._read.arun(value), value)

    def _results(self, read: dict[str, Any], value: Any) -> LazyResults:
        recorder.annotate(detail=self._detail)
        stages = self.parallel.stages
        return LazyResults(read, list(stages), lambda name: stages[name](value))
