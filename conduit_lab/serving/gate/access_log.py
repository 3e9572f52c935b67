"""The access log: one line per answered request, without query, body or key."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from conduit_lab.core.text import clip
from conduit_lab.serving.gate.context import RequestContext

if TYPE_CHECKING:
    from starlette.types import Scope

ACCESS_LOG = logging.getLogger("conduit_lab.access")
_MAX_PATH_CHARACTERS = 200


def record_access(context: RequestContext, scope: Scope) -> None:
    """Log the caller's address and name, the method, path, status, seconds and ID of a request.

    The path is that of the route where there is one: a parameter may be a name.
    """
    client = scope.get("client")
    path = context.template or clip(scope["path"], _MAX_PATH_CHARACTERS)
    ACCESS_LOG.info(
        "%s %s %s %s %d %.4f %s",
        client[0] if client else "-",
        context.caller.name if context.caller is not None else "-",
        scope["method"],
        ascii(path)[1:-1],  # no line breaks
        context.status,
        monotonic() - context.begun_at,
        context.id,
    )


class WithoutQuery(logging.Filter):
    """Takes the query off the lines of uvicorn's access log: it may hold a prompt."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the path; keep every line."""
        arguments = record.args
        if isinstance(arguments, tuple) and len(arguments) > 2 and isinstance(arguments[2], str):
            path = arguments[2].partition("?")[0]
            record.args = (*arguments[:2], path, *arguments[3:])
        return True


_WITHOUT_QUERY = WithoutQuery()


def hide_queries() -> None:
    """Keep queries out of uvicorn's access log, which a plain `uvicorn app:app` writes."""
    logging.getLogger("uvicorn.access").addFilter(_WITHOUT_QUERY)  # the same one is added once
