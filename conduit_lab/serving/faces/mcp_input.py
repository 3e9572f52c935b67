"""InputRound: the input requests of a task, and the answers received (SEP-2322, SEP-2663)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, InputRequiredResult, InputResponse
from pydantic import TypeAdapter, ValidationError

_response: TypeAdapter[Any] = TypeAdapter(InputResponse)


class InputRound:
    """The input requests of one result, answered one by one or together.

    Any thread may answer; only the task's event loop waits.
    """

    def __init__(self, result: InputRequiredResult) -> None:
        dumped = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        self.pending: dict[str, Any] = dumped.get("inputRequests", {})
        self._answers: dict[str, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._whole = asyncio.Event()
        self._end_when_whole()

    async def answers(self) -> dict[str, Any]:
        """Wait until all requests are answered; return the answers by request key."""
        await self._whole.wait()
        return self._answers

    def answer(self, given: Mapping[str, Any]) -> None:
        """Accept answers to pending requests; ignore others, as the protocol requires."""
        known = {key: value for key, value in given.items() if key in self.pending}
        try:
            self._answers |= {key: _response.validate_python(known[key]) for key in known}
        except ValidationError:
            keys = ", ".join(known)
            raise MCPError(
                code=INVALID_PARAMS, message=f"the answers to {keys} are not valid input responses"
            ) from None
        for key in known:
            self.pending.pop(key, None)
        self._end_when_whole()

    def _end_when_whole(self) -> None:
        if not self.pending:
            self._loop.call_soon_threadsafe(self._whole.set)
