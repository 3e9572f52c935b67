"""Failures: a log record for each request that failed by the server's fault."""

from __future__ import annotations

import logging

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.server_state import UNMATCHED

_log = logging.getLogger("conduit_lab")


def log_failure(error: BaseException, answer: HttpError | None, context: RequestContext) -> None:
    """Write one log record about a failed request, and keep it among the server's failures.

    The record has `request_id`, `endpoint` and `status`. A fault that no answer of the table
    explains is logged with its traceback, an answered one in one line; a rejected call (429) is
    only counted: an overloaded server must not write a line per request.
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
