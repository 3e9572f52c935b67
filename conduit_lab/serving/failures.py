"""Failures: a log record per request that failed on the server's side."""

from __future__ import annotations

import logging

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.server_state import UNMATCHED

_log = logging.getLogger("conduit_lab")


def log_failure(error: BaseException, answer: HttpError | None, context: RequestContext) -> None:
    """Log a failed request, and add it to the server's recent failures.

    The record has `request_id`, `endpoint` and `status`. An unexpected exception is logged with its
    traceback, a known one in one line. Rejected calls (429) are only counted: an overloaded server
    must not log a line per request.
    """
    status = 500 if answer is None else answer.status
    if status == 429:
        return
    route = context.template or UNMATCHED
    facts = {"request_id": context.id, "endpoint": route, "status": status}
    if answer is None:
        _log.error("request %s: %s failed", context.id, route, exc_info=error, extra=facts)
    else:
        message = "request %s: %s answered %s: %s"
        _log.error(message, context.id, route, status, error, extra=facts)
    context.server.fail(context.id, route, status, error)
