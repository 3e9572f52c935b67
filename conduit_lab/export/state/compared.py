"""The state of an app, and the first difference between two processes' states, as a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conduit_lab.export.state.identities import COMPARED, CONTAINERS
from conduit_lab.export.state.settings import SETTING, settings_difference, settings_of
from conduit_lab.export.state.walk import BUILT, StateLine, Walk
from conduit_lab.models.file_model import FileModel
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint

_NAME = re.compile(r"→ (\w+)")
_VARIABLE = re.compile(r", variable (\w+)")  # of a closure
_MODULE = "module "  # prefix of the line of a module, before its title


class Sides(NamedTuple):
    """How a sentence names the two compared states, and whether the first one is this session."""

    here: str
    there: str
    is_session: bool


THIS_SESSION = Sides("here", "in the export", is_session=True)


def app_state(
    app: App,
    names: dict[str, Any],
    root: Path,
    is_hidden: Callable[[str], bool] = lambda name: False,
    endpoints: Iterable[Endpoint[..., Any]] | None = None,
    cells: Sequence[str] | None = None,
    built: Collection[str] | None = None,
) -> list[StateLine]:
    """Return a line for each object that the app's endpoints reach; opens its models and stores.

    `names` are the globals of the endpoints; by default all `endpoints` are walked. The session's
    `cells` determine which process settings are its own. `built` names the resources whose objects
    are compared, by default those that are older than a name that they use.
    """
    walk = Walk(names, root, is_hidden, built)
    for endpoint in app.endpoints if endpoints is None else endpoints:
        place = f"{endpoint.method} {endpoint.path} → {endpoint.name}"
        walk.add(place, endpoint)
    settings = settings_of(walk.packages, cells, walk.set_attributes)
    lines = [*walk.lines, *(StateLine(*line) for line in walk.identities.lines())]
    return [*lines, *(StateLine(f"{SETTING}{name}", value) for name, value in settings)]


def reached_models(
    endpoint: Endpoint[..., Any],
    names: dict[str, Any],
    root: Path,
    is_hidden: Callable[[str], bool] = lambda name: False,
) -> list[FileModel[Any]]:
    """Return the models that an endpoint reaches, opening them."""
    walk = Walk(names, root, is_hidden)
    walk.add(endpoint.name, endpoint)
    return [value for value in walk.objects if isinstance(value, FileModel)]


def state_difference(
    here: Sequence[StateLine],
    there: Sequence[StateLine],
    cells: Sequence[str] = (),
    sides: Sides = THIS_SESSION,
) -> str | None:
    """Describe the first difference in one sentence, a session's with its fix; None if equal.

    `cells` are the session's cells, which are searched for the statement behind a setting.
    """
    (here, mine), (there, theirs) = _parted(here), _parted(there)
    found = _objects_difference(here, there, sides)
    setting = settings_difference(mine, theirs, cells)
    if found is None and setting is not None:
        both = _both(setting.here, setting.there, sides)
        user = here[0].place if here else "the app"
        found = f"{SETTING}{setting.name}: {both} (needed by {user})", setting.mend
    if found is None:
        return None
    problem, mend = found
    return f"{problem}. {mend}" if sides.is_session else problem


def _parted(lines: Sequence[StateLine]) -> tuple[list[StateLine], dict[str, str]]:
    """Split lines into those of objects, and the settings keyed by name."""
    objects = [line for line in lines if not line.place.startswith(SETTING)]
    settings = lines[len(objects) :]
    return objects, {place.removeprefix(SETTING): text for place, text in settings}


def _objects_difference(
    here: Sequence[StateLine], there: Sequence[StateLine], sides: Sides
) -> tuple[str, str] | None:
    """Return the first difference between objects, and its fix in the session."""
    for mine, other in zip(here, there, strict=False):
        if mine == other:
            continue
        if mine.place == other.place:
            both = _both(mine.text, other.text, sides)
            return f"{mine.place}: {both}", _mend(mine.place, here)
        places = {line.place for line in there}
        if mine.place not in places:
            only = f"{mine.text} {sides.here}, missing {sides.there}"
            return f"{mine.place}: {only}", _mend(mine.place, here)
        only = f"missing {sides.here}, {other.text} {sides.there}"
        return f"{other.place}: {only}", _mend(other.place, there)
    if len(here) == len(there):
        return None
    longer = here if len(here) > len(there) else there
    line = longer[min(len(here), len(there))]
    side = sides.here if longer is here else sides.there
    return f"{line.place}: {line.text} only {side}", _mend(line.place, longer)


def _both(here: str, there: str, sides: Sides) -> str:
    code = re.compile(r"function (\w+), code")
    if code.match(here) and code.match(there):
        return f"the code {sides.here} is not that {sides.there}"
    return f"{here} {sides.here}, {there} {sides.there}"


def _mend(place: str, lines: Sequence[StateLine]) -> str:
    _, compared, function = place.partition(COMPARED)
    if compared and function == CONTAINERS:
        return "A container finds a NaN only by identity: test for it with math.isnan(value)"
    if compared:
        return (
            f"Python may keep equal values as one object or as several: in {function}, compare "
            "with == in place of `is`, or with a value of its own, such as MISSING = object()"
        )
    for line in lines:
        title = line.text.removeprefix(_MODULE)
        if title != line.text and place.startswith(f"{title}."):
            return (
                f"Needed by {line.place}: write the change into the file of {title}, "
                "or restart the kernel where the file is right"
            )
    found = _NAME.findall(place)
    name = found[-1] if found else "the endpoint"
    if name == "__name__":
        return "app.py is not the notebook's module: write out the text that the code needs"
    if BUILT in place:
        return (
            f"{name} was built before a name that it uses changed: run {name}.close(), and call "
            "its endpoints again"
        )
    mend = f"Run the cell that defines {name} again, and then the cells that use it"
    variable = _VARIABLE.search(place.rpartition("→")[2])
    if variable is None:
        return mend
    return f"{mend}; or define {name} at the top level, where its {variable[1]} is a global name"
