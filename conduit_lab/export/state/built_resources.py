"""Built resources: the objects that a session keeps, and their inputs.

The export builds them again. An object is compared with the new one only if a name that its
function uses has changed since it was built; otherwise it may differ by use, as a pool does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from conduit_lab.export.state.walk import BUILT, StateLine, Walk
from conduit_lab.serving.resource import AppResource

_RESOURCE = "resource "  # prefix of the line of a resource, before its name
_NAME = re.compile(r"→ (\w+)")


def inputs_of(resource: AppResource[object], root: Path) -> list[StateLine]:
    """Return the lines of the function of a resource, and of everything that it uses."""
    walk = Walk(resource.function.__globals__, root, built=())
    walk.add(resource.name, resource.function)
    return walk.lines


def changed_input(resource: AppResource[object], root: Path) -> str:
    """Return the first name that changed since a resource was built; "" if none has."""
    if not resource.is_built or resource.inputs is None:
        return ""
    now = inputs_of(resource, root)
    for mine, other in zip(resource.inputs, now, strict=False):
        if mine != other:
            names: list[str] = _NAME.findall(mine.place)
            return names[-1] if names else resource.name
    return "" if len(now) == len(resource.inputs) else resource.name


def compared_resources(lines: Sequence[StateLine]) -> list[str]:
    """Return the names of the resources whose objects are among the lines of a session."""
    known = [line for line in lines if line.text.startswith(_RESOURCE)]
    names = {line.place: line.text.removeprefix(_RESOURCE) for line in known}
    places = [line.place.removesuffix(BUILT) for line in lines if line.place.endswith(BUILT)]
    return [names[place] for place in places]
