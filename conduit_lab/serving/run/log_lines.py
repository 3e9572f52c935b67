"""Log lines: the log of a served process, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

LogForm = Literal["text", "json"]

# standard record attributes; any other was passed as `extra`
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, `extra` attributes, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        facts |= {key: value for key, value in vars(record).items() if key not in _KNOWN}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


def log_config(form: LogForm) -> dict[str, Any]:
    """Return the logging configuration of this package and uvicorn, with output on stderr."""
    lines: dict[str, Any] = {"format": "%(asctime)s %(levelname)s %(message)s"}
    if form == "json":
        lines = {"()": f"{__name__}.{JsonLines.__name__}"}
    logger = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": lines},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "loggers": {"conduit_lab": logger, "uvicorn": logger},
    }
