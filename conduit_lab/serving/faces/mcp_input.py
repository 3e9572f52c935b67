"""InputRound: the input requests of a task, and the answers so far (SEP-2322 and SEP-2663)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, InputRequiredResult, InputResponse
from pydantic import TypeAdapter, ValidationError

_response: TypeAdapter[Any] = TypeAdapter(InputResponse)


class InputRound:
    """The requests of one result that needs input, answered one by one or together.

    Any thread may answer; the event loop of its task waits.
    """

    def __init__(self, result: InputRequiredResult) -> None:
        dumped = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        self.pending: dict[str, Any] = dumped.get("inputRequests", {})
        self._answers: dict[str, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._whole = asyncio.Event()
        self._end_when_whole()

    async def answers(self) -> dict[str, Any]:
        """Wait until nothing is pending, and return the answers by the keys of the requests."""
        await self._whole.wait()
        return self._answers

    def answer(self, given: Mapping[str, Any]) -> None:
        """Take the answers to pending requests; others are ignored, as the protocol says."""
        known = {key: value for key, value in given.items() if key in self.pending}
        try:
            self._answers |= {key: _response.validate_python(known[key]) for key in known}
        except ValidationError:
            keys = ", ".join(known)
            raise MCPError(
                code=INVALID_PARAMS, message=f"the answers to {keys} are none of the protocol"
            ) from None
        for key in known:
            self.pending.pop(key, None)
        self._end_when_whole()

    def _end_when_whole(self) -> None:
        if not self.pending:
            self._loop.call_soon_threadsafe(self._whole.set)
