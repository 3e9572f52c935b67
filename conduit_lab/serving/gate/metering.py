"""Metering: the requests and tokens of each key, and its quotas."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.keys import Key
from conduit_lab.serving.limits import Limits

MINUTE_SECONDS = 60.0
DAY_SECONDS = 86400.0


class Window:
    """A counter that resets after a number of seconds of the monotonic clock."""

    __slots__ = ("_ends_at", "_seconds", "_used")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = -math.inf
        self._used = 0

    def used(self, now: float) -> int:
        """Return the count of the window that contains `now`."""
        if now >= self._ends_at:
            self._ends_at = now + self._seconds
            self._used = 0
        return self._used

    def add(self, count: int, now: float) -> None:
        """Add to the count of the window that contains `now`."""
        self._used = self.used(now) + count

    def seconds_left(self, now: float) -> int:
        """Return the seconds until the counter resets, rounded up."""
        return max(1, math.ceil(self._ends_at - now))


class Meter:
    """The usage of one key since the app was created, and its quota windows."""

    __slots__ = (
        "day_tokens",
        "generated_tokens",
        "key",
        "minute_requests",
        "prompt_tokens",
        "requests",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.requests = self.prompt_tokens = self.generated_tokens = 0
        self.minute_requests = Window(MINUTE_SECONDS)
        self.day_tokens = Window(DAY_SECONDS)


class Metering:
    """The meters of an app's keys, shared by all its servers in this process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the meters
        self._meters: dict[Key, Meter] = {}

    def begin(self, key: Key, limits: Limits) -> None:
        """Count one request of a key; raise 429 if its quota is exhausted."""
        requests = key.requests_per_minute or limits.requests_per_minute
        tokens = key.tokens_per_day or limits.tokens_per_day
        now = self._clock()
        with self._lock:
            meter = self._meter(key)
            minute, day = meter.minute_requests, meter.day_tokens
            if requests is not None and minute.used(now) >= requests:
                raise _used_up(f"{requests} requests per minute", minute.seconds_left(now))
            if tokens is not None and day.used(now) >= tokens:
                raise _used_up(f"{tokens} tokens per day", day.seconds_left(now))
            meter.requests += 1
            minute.add(1, now)

    def count(self, key: Key, prompt: int, generated: int) -> None:
        """Count the tokens of one request of a key."""
        if prompt or generated:
            with self._lock:
                meter = self._meter(key)
                meter.prompt_tokens += prompt
                meter.generated_tokens += generated
                meter.day_tokens.add(prompt + generated, self._clock())

    def usage(self, key: Key) -> dict[str, Any]:
        """Return the usage of a key, or of all keys of its tenant, as JSON values."""
        with self._lock:
            meters = [
                meter
                for each, meter in self._meters.items()
                if each == key or (key.tenant is not None and each.tenant == key.tenant)
            ]
            totals = {
                name: sum(getattr(meter, name) for meter in meters)
                for name in ("requests", "prompt_tokens", "generated_tokens")
            }
            keys = {meter.key.name: meter.requests for meter in meters}
        return {"key": key.name, "tenant": key.tenant, **totals, "requests_by_key": keys}

    def _meter(self, key: Key) -> Meter:
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = Meter(key)
        return meter


def _used_up(quota: str, seconds: int) -> HttpError:
    message = f"this key's {quota} are used up: try again in {seconds} s"
    return HttpError(429, "quota_exceeded", message, {"retry-after": str(seconds)})
