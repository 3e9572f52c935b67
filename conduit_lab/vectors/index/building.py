"""Building: codes or a graph made on a thread of their own, while searches go on without them."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Generic, Protocol, TypeVar

import numpy as np

_log = logging.getLogger(__name__)


class Made(Protocol):
    """What is made of an index's rows."""

    begin: int  # the first row

    def extend(self, end: int, stop: threading.Event) -> None:
        """Take in the rows up to `end`; give up when `stop` is set."""


M = TypeVar("M", bound=Made)


class Building(Generic[M]):
    """One build on a thread; `made` is there when it has ended well.

    The thread only reads rows that were there when it began, and only writes to what it makes. Rows
    that are replaced meanwhile are the caller's to make again.
    """

    def __init__(self, making: M, end: int, owner: object) -> None:
        self.begin, self.end = making.begin, end
        self.made: M | None = None
        self.failed = False
        self.stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(making,), name="conduit-lab index", daemon=True
        )
        self._owned = weakref.finalize(
            owner, self.stop.set
        )  # who is dropped without `cancel` needs none of it
        self._thread.start()

    @property
    def running(self) -> bool:
        """Tell whether the thread is at work; in a forked child it never is."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def cancel(self) -> None:
        """End it, within one slice of rows."""
        self.stop.set()
        self._thread.join()
        self.made = None

    def _run(self, making: M) -> None:
        try:
            with np.errstate(all="ignore"):  # a row that is replaced while it is read is made again
                making.extend(self.end, self.stop)
        except (
            Exception
        ):  # a search is right without it, so the reason is told and the store goes on
            self.failed = True
            _log.exception(
                "no %s could be made for %d rows: searches do without",
                type(making).__name__,
                self.end,
            )
            return
        finally:
            self._owned.detach()
        if not self.stop.is_set():
            self.made = making
