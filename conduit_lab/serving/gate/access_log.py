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
    """Log a request's address, caller, method, path, status, seconds and ID.

    A routed request is logged with its route template, since path parameters may be personal data.
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
    """Strips the query from uvicorn's access log lines: it may contain a prompt."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Strip the query from the record's path; drop no record."""
        arguments = record.args
        if isinstance(arguments, tuple) and len(arguments) > 2 and isinstance(arguments[2], str):
            path = arguments[2].partition("?")[0]
            record.args = (*arguments[:2], path, *arguments[3:])
        return True


_WITHOUT_QUERY = WithoutQuery()


def hide_queries() -> None:
    """Strip queries from the access log of a plain `uvicorn app:app`."""
    logging.getLogger("uvicorn.access").addFilter(_WITHOUT_QUERY)  # idempotent
