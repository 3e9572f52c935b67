"""Request: an HTTP request as passed to a handler; Body: its JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from conduit_lab.core.caller import Caller, current_caller
from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip
from conduit_lab.serving import codec
from conduit_lab.serving.argument_problems import MAX_PROBLEMS

if TYPE_CHECKING:
    from starlette.types import Scope

_MAX_KEY_CHARACTERS = 60


class Request:
    """An HTTP request, for a handler with a parameter named or typed `request`.

    `body` is the raw body, `query` the query parameters, `path_params` the path parameters;
    `headers` has lowercase names. `caller` has the name and tenant of the request's key and
    defaults to the current caller; it is None for an app without keys.
    """

    __slots__ = ("body", "caller", "headers", "path_params", "query")

    def __init__(
        self,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        path_params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.body = body
        self.caller = current_caller() if caller is None else caller
        self.query = {} if query is None else dict(query)
        self.path_params = {} if path_params is None else dict(path_params)
        self.headers = {} if headers is None else dict(headers)

    @classmethod
    def from_scope(cls, scope: Scope, body: bytes) -> Request:
        """Create a request from an ASGI scope and body."""
        query: bytes = scope.get("query_string", b"")
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:  # the first of repeated names
            headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        return cls(
            body,
            query=dict(read_query(query)),
            path_params={key: str(value) for key, value in scope.get("path_params", {}).items()},
            headers=headers,
        )

    def parse_json(self) -> Any:
        """Parse the body as JSON; raise `InputError` if it is not."""
        value = codec.loads(self.body)
        return Body(value) if isinstance(value, dict) else value


def read_query(query: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a query; raise `InputError` if they are not UTF-8."""
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InputError("the query expects percent-encoded UTF-8, got other bytes") from None


class MissingField(InputError, KeyError):
    """Raised when a handler looks up a key missing in the body."""

    __str__ = Exception.__str__  # KeyError would show the repr


class Body(dict[str, Any]):
    """A JSON object as passed to a handler: a missing key is answered with 400."""

    def __missing__(self, key: str) -> Any:
        keys = [repr(clip(str(known), _MAX_KEY_CHARACTERS)) for known in islice(self, MAX_PROBLEMS)]
        more = f" and {len(self) - len(keys):,} more" if len(self) > len(keys) else ""
        raise MissingField(f"the body has no {key!r}; it has {', '.join(keys) or 'no keys'}{more}")
