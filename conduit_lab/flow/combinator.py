"""Combinator: a stage composed of stages."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from conduit_lab.core import views
from conduit_lab.core.spec import TensorSpec, ValueSpec, describe_values
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.text import one_line
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.flow.fit import check_same_value, equal_outputs, shared_inputs
from conduit_lab.flow.stage_chart import stage_chart
from conduit_lab.models.file_model import FileModel

# in a displayed tree
_MAX_STAGES = 30
_MAX_CHILDREN = 12
_MAX_DEPTH = 8
_MAX_CHARACTERS = 40
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)

if TYPE_CHECKING:
    from conduit_lab.flow.compile import CompileStep
    from conduit_lab.flow.explain import Explanation


class Combinator(Viewed, Stage):
    """A stage composed of stages; displayed as a tree, and equal to one with the same parts.

    A subclass stores each positional argument as an attribute of the same name: a stage, several, a
    dict of them, or a function. It calls `check` at the end of its constructor. By default each
    child receives the combinator's own value.
    """

    arrangement: ClassVar[views.Arrangement] = "chain"  # how a drawing arranges the children

    report: Sequence[CompileStep] | None = None  # set on combinators created by `compile`

    def compile(self, samples: Iterable[Any]) -> Combinator:
        """Return a combinator with equal answers that is faster on `samples`, or a copy.

        Its `report` lists each step with its reason and times; see `compile_pipeline`.
        """
        from conduit_lab.flow.compile import compile_pipeline  # circular import

        return compile_pipeline(self, samples)

    def explain(self) -> Explanation:
        """Return the choice made for each stage, and the measured times; runs nothing."""
        from conduit_lab.flow.explain import Explanation

        return Explanation(self)

    def _settings(self) -> dict[str, Any]:
        """The non-default keyword arguments, except stages and name."""
        return {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The positional arguments that recreate it, by name: stages and functions."""
        parameters = inspect.signature(type(self)).parameters.values()
        names = [p.name for p in parameters if p.kind in _POSITIONAL and p.name != "name"]
        return {name: getattr(self, name) for name in names}

    # Specs

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that its stages take, None if unknown."""
        return shared_inputs(self.children)

    @property
    def gives(self) -> ValueSpec:
        """The values that its stages return, None if unknown."""
        return equal_outputs(self.children)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of its input arrays; empty while its models are not open."""
        return self.takes or ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of its output arrays; empty while its models are not open."""
        gives = self.gives
        return gives if isinstance(gives, tuple) else ()

    def check(self) -> None:
        """Raise `CompositionError` if two of its stages do not fit together; opens nothing."""
        check_same_value(type(self).__name__, self.children)

    # Equality

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or not isinstance(other, Combinator):
            return NotImplemented
        try:
            same = self.arguments == other.arguments
        except AttributeError:  # a subclass that does not store its arguments as attributes
            return NotImplemented
        return same and self.name == other.name and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    # Showing

    def to_mermaid(self) -> str:
        """Return a Mermaid flowchart of its stages, with specs and last durations."""
        return stage_chart(_tree(self))

    def _view(self) -> views.View:
        tree = _tree(self)
        default = self.name == type(self).__name__.lower()
        facts = [part for part in (tree.values, *tree.facts, tree.time) if part]
        return views.View(tree.kind, "" if default else tree.name, facts, tree=tree)


def check_composition(stage: Stage) -> None:
    """Check every combinator below a stage, for example after its models were opened."""
    found, known = [stage], {id(stage)}
    for each in found:
        if isinstance(each, Combinator):
            each.check()
        found += [child for child in each.children if id(child) not in known]
        known.update(map(id, each.children))


@dataclass
class _Draft:
    """A node of a displayed tree, in progress."""

    stage: Stage
    edge: str = ""
    joins: bool = False
    depth: int = 0
    children: list[_Draft] = field(default_factory=list)
    more: int = 0

    def node(self) -> views.TreeNode:
        stage = self.stage
        takes, gives = _values(stage)
        return views.TreeNode(
            _printable(stage.name),
            type(stage).__name__,
            takes=takes,
            gives=gives,
            facts=tuple(_facts(stage)),
            seconds=stage.last_seconds,
            edge=self.edge,
            children=tuple(child.node() for child in self.children),
            more=self.more,
            arrangement=stage.arrangement if isinstance(stage, Combinator) else "chain",
            joins=self.joins,
        )


def _tree(root: Stage) -> views.TreeNode:
    """Return the tree below a stage: the nearest stages, at most 30."""
    first, left = _Draft(root), _MAX_STAGES
    queue = deque([first])
    while queue:
        draft = queue.popleft()
        children = list(_edges(draft.stage))
        fit = min(left, _MAX_CHILDREN) if draft.depth < _MAX_DEPTH else 0
        kept = children[:fit]
        if kept and children[-1][2]:
            kept[-1] = children[-1]  # the results converge there
        left -= len(kept)
        draft.more = len(children) - len(kept)
        draft.children = [
            _Draft(stage, _printable(edge), joins, draft.depth + 1) for edge, stage, joins in kept
        ]
        queue.extend(draft.children)
    return first.node()


def _edges(stage: Stage) -> Iterator[tuple[str, Stage, bool]]:
    """Yield each child's name within the stage, the child, and whether it joins the others."""
    arguments, settings = _parts(stage)
    if not arguments:
        yield from (("", child, False) for child in stage.children)
    several = False
    for name, value in arguments.items():
        if isinstance(value, Stage):
            yield ("" if name == "stage" else name), value, several
        elif isinstance(value, Mapping):
            several = True
            yield from ((str(key), child, False) for key, child in value.items())
        elif isinstance(value, tuple):
            several = True
            yield from (("", child, False) for child in value)
    for name, value in settings.items():
        if isinstance(value, Stage):
            yield name, value, False


def _facts(stage: Stage) -> Iterator[str]:
    """Yield the settings of a combinator or function, and the state of a model that is not open."""
    if isinstance(stage, FileModel) and stage.held is None:
        yield "not opened"
    if isinstance(stage, Function) and is_dataclass(stage.function):
        yield _shown(stage.function)
    arguments, settings = _parts(stage)
    for name, value in arguments.items():
        if not isinstance(value, Stage | Mapping | tuple):
            yield f"{name}={_shown(value)}"
    for name, value in settings.items():
        if not isinstance(value, Stage):
            yield f"{name}={_shown(value)}"


def _parts(stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments and settings of a combinator by name; empty for any other stage."""
    if not isinstance(stage, Combinator):
        return {}, {}
    try:
        return stage.arguments, stage._settings()
    except AttributeError:  # a subclass that does not store its arguments as attributes
        return {}, {}


def _shown(value: Any) -> str:
    name = getattr(value, "__name__", None) if callable(value) else None
    return _printable(name if isinstance(name, str) else repr(value))


def _printable(text: str) -> str:
    line = one_line(text, _MAX_CHARACTERS)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _values(stage: Stage) -> tuple[str, str]:
    """Return the values that a stage takes and returns, empty if unknown."""
    try:
        values = stage.takes, stage.gives
    except RecursionError:  # a pipeline that contains itself
        return "", ""
    takes, gives = (_printable(describe_values(each)) if each else "" for each in values)
    return takes, gives
