"""An agent paired with the notebook: tools that show it the session, without secrets."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.text import clip, one_line
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.export.secret import looks_secret
from conduit_lab.notebook import history
from conduit_lab.serving.tool import Tool

if TYPE_CHECKING:
    from conduit_lab.notebook.lab import Lab

MAX_FORM_CHARACTERS = 16_000  # per object
MAX_LISTED_NAMES = 200
MAX_READ_TRACES = 20
_MAX_LINE_CHARACTERS = 120
_HIDDEN = "[secret]"
# a name that `looks_secret` would flag, and its quoted text, which may have been truncated
_NAMED = re.compile(
    r"((?:api_?key|secret|password|passwd|token|credential)s?[\"']?\s*[:=]\s*)([\"'])(.+?)(?:\2|$)",
    re.IGNORECASE | re.MULTILINE,
)


def session_tools(lab: Lab) -> list[Tool[..., Any]]:
    """Return the tools with which an agent reads a lab's session.

    They return Markdown of bounded length, without texts that are named like a secret in the
    environment or in the session.
    """

    def lab_overview() -> str:
        """Show the session: its models, stores, endpoints, running streams and servers."""
        return _markdown(lab)

    def lab_names() -> str:
        """List the objects of the session by name: the notebook's and the lab's."""
        rows = [
            f"- `{name}`: {type(value).__name__}"
            for name, value in sorted(_objects(lab).items())[:MAX_LISTED_NAMES]
        ]
        return "\n".join(rows) or "nothing yet"

    def lab_show(name: str) -> str:
        """Show one object of the session, by a name from `lab_names`."""
        objects = _objects(lab)
        if name not in objects:
            raise InputError(f"nothing is named {clip(name, 80)!r}{did_you_mean(name, objects)}")
        return _markdown(objects[name])

    def lab_traces(endpoint: str, count: int = 3) -> str:
        """Show the traces of an endpoint's or tool's newest calls, newest first.

        `endpoint` is its path or name, `count` at most 20.
        """
        if not 0 < count <= MAX_READ_TRACES:
            raise InputError(f"count expects 1 to {MAX_READ_TRACES}, got {count}")
        known = [each.path for each in lab.endpoints] + [each.name for each in lab.endpoints]
        if endpoint not in known:
            shown = clip(endpoint, 80)
            raise InputError(f"no endpoint {shown!r}{did_you_mean(endpoint, known)}")
        traces = lab.endpoints[endpoint].history[-count:]
        parts = [_markdown(trace, MAX_FORM_CHARACTERS // count) for trace in reversed(traces)]
        return "\n\n".join(parts) or f"{endpoint} has not been called"

    functions = (lab_overview, lab_names, lab_show, lab_traces)
    return [Tool(each, each.__name__, "", lab) for each in functions]


def _objects(lab: Lab) -> dict[str, Any]:
    """Return the objects that an agent may see, by name; the notebook's take precedence."""
    own = {
        **{each.name: each for each in lab.models},
        **lab.stores,
        **{each.name: each for each in lab.endpoints},
    }
    return {**own, **dict(_public(history.namespace() or {}))}


def _public(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the user's names, excluding imported modules, classes and functions, and secrets."""
    own = names.get("__name__")
    for name, value in names.items():
        hidden = name.startswith("_") or name in ("In", "Out", "exit", "quit", "open")
        foreign = isinstance(value, ModuleType) or (
            isinstance(value, FunctionType | BuiltinFunctionType | type) and value.__module__ != own
        )
        if not (hidden or foreign or looks_secret(name, value)):
            yield name, value


def _markdown(value: Any, limit: int = MAX_FORM_CHARACTERS) -> str:
    """Return the static form of a value as Markdown of bounded length, without secrets."""
    text = value._view().plain() if isinstance(value, Viewed) else reprlib.repr(value)
    head, _, rest = redacted(text).partition("\n")
    title = f"**{one_line(head, _MAX_LINE_CHARACTERS)}**"
    if not rest and len(head) <= _MAX_LINE_CHARACTERS:
        return title
    body = clip(rest or head, limit).replace("```", "'''")
    return f"{title}\n\n```text\n{body}\n```"


def redacted(text: str) -> str:
    """Return `text` without secrets.

    Secrets are texts that are named like one in the environment or the session, and quoted texts
    after such a name.
    """
    names: list[tuple[str, Any]] = [*os.environ.items(), *(history.namespace() or {}).items()]
    for name, value in names:
        if isinstance(value, str) and looks_secret(name, value, {}):
            text = text.replace(value, _HIDDEN)
    return _NAMED.sub(rf"\1\2{_HIDDEN}\2", text)
