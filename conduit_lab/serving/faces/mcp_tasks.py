"""Tasks: long-running tool calls that a client polls instead of waiting.

The MCP extension `io.modelcontextprotocol/tasks` (SEP-2663), for clients that declare it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from secrets import token_hex
from time import monotonic
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    RequestParams,
)
from pydantic import Field

from conduit_lab.serving.faces.mcp_caller import caller_name
from conduit_lab.serving.faces.mcp_input import InputRound
from conduit_lab.serving.tool import MCP_REVISION

TASK_AFTER_SECONDS = 1.0  # a call that takes longer becomes a task
TASK_SECONDS = 15 * 60.0  # until a task is discarded
MAX_TASKS = 256  # running, or ended but not yet discarded
_POLL_SECONDS = 1.0
_TERMINAL = frozenset({"completed", "failed", "cancelled"})

# progress of the current call
progress_of_call: ContextVar[CallProgress | None] = ContextVar("progress_of_call", default=None)

_Ctx = ServerRequestContext[Any, Any]
_Call = Callable[[_Ctx, CallToolRequestParams], Awaitable[Any]]


class CallProgress:
    """The progress of one call: sent to the client, or stored once the call is a task."""

    __slots__ = ("is_task", "message", "needs")

    def __init__(self) -> None:
        self.is_task = False
        self.message = ""
        self.needs: InputRound | None = None  # the input its task is waiting for


class TaskParams(RequestParams):
    """Parameters of a method on one task."""

    task_id: str


class UpdateParams(TaskParams):
    """Parameters with answers to a task's input requests."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


class _Task:
    """One call that became a task."""

    def __init__(self, job: asyncio.Task[Any], progress: CallProgress, owner: str) -> None:
        self.id = token_hex(16)
        self.job = job
        self.progress = progress
        self.owner = owner
        self.began = monotonic()
        self.created = self.updated = _now()
        self.is_cancelled = False
        job.add_done_callback(self._end)

    def _end(self, job: asyncio.Task[Any]) -> None:
        self.updated = _now()
        if not job.cancelled():
            job.exception()  # marks it as retrieved

    @property
    def status(self) -> str:
        if self.is_cancelled or (self.job.done() and self.job.cancelled()):
            return "cancelled"
        if not self.job.done():
            return "input_required" if self.pending else "working"
        return "completed" if self.job.exception() is None else "failed"

    @property
    def pending(self) -> dict[str, Any]:
        """The unanswered input requests by key."""
        needs = self.progress.needs
        return {} if needs is None else needs.pending

    def cancel(self) -> None:
        """Cancel the call on its event loop, which may be another server's."""
        if self.status not in _TERMINAL:
            self.is_cancelled = True
            self.updated = _now()
            self.job.get_loop().call_soon_threadsafe(self.job.cancel)

    def described(self) -> dict[str, Any]:
        """Return its fields in the protocol's form."""
        fields: dict[str, Any] = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": int(TASK_SECONDS * 1000),
            "pollIntervalMs": int(_POLL_SECONDS * 1000),
        }
        if self.progress.message:
            fields["statusMessage"] = self.progress.message
        return fields

    def outcome(self) -> dict[str, Any]:
        """Return its result, its error, or its input requests; empty while it is working."""
        if self.status == "input_required":
            return {"inputRequests": dict(self.pending)}
        if self.status == "completed":
            return {"result": _dumped(self.job.result())}
        if self.status == "failed":
            error = self.job.exception()
            facts = {"code": INTERNAL_ERROR, "message": "the tool failed"}
            if isinstance(error, MCPError):
                facts = {"code": error.error.code, "message": error.error.message}
            return {"error": facts}
        return {}


class Tasks(Extension):
    """The tasks of one app, in process memory; a task belongs to its caller's key."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, call: _Call) -> None:
        self._call = call  # calls a tool again, with answers to its input requests
        self._tasks: dict[str, _Task] = {}

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods of the extension."""
        revisions = frozenset({MCP_REVISION})
        return [
            MethodBinding("tasks/get", TaskParams, self._get, revisions),
            MethodBinding("tasks/update", UpdateParams, self._update, revisions),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, revisions),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: _Ctx, call_next: CallNext
    ) -> HandlerResult:
        """Return the result of a call, or a task if the call takes long."""
        if not self._is_declared(ctx):
            return await call_next(ctx)
        progress = CallProgress()
        token = progress_of_call.set(progress)
        try:
            job = asyncio.ensure_future(self._run(params, ctx, call_next, progress))
        finally:
            progress_of_call.reset(token)
        try:
            await asyncio.wait({job}, timeout=TASK_AFTER_SECONDS)
            if job.done() or not self._has_room():
                return await job  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            job.cancel()
            raise
        progress.is_task = True
        task = _Task(job, progress, caller_name())
        self._tasks[task.id] = task
        return {"resultType": "task", **task.described()}

    async def _run(
        self, params: CallToolRequestParams, ctx: _Ctx, call_next: CallNext, progress: CallProgress
    ) -> Any:
        """Call a tool; in a task, call it again with each round of answers it requests."""
        result = await call_next(ctx)
        while isinstance(result, InputRequiredResult) and progress.is_task:
            progress.needs = InputRound(result)
            answers = await progress.needs.answers()
            round_of = {"input_responses": answers, "request_state": result.request_state}
            result = await self._call(ctx, params.model_copy(update=round_of))
        return result

    def stop(self) -> None:
        """Cancel the tasks on the running event loop, whose server is stopping."""
        loop = asyncio.get_running_loop()
        for task in self._tasks.values():
            if task.job.get_loop() is loop:
                task.job.cancel()

    def _has_room(self) -> bool:
        """Discard expired tasks; return whether there is room for another."""
        for task in list(self._tasks.values()):
            if monotonic() - task.began > TASK_SECONDS:
                task.cancel()
                del self._tasks[task.id]
        return len(self._tasks) < MAX_TASKS

    def _find(self, ctx: _Ctx, params: TaskParams) -> _Task:
        if not self._is_declared(ctx):
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message=f"the client does not declare the extension {self.identifier}",
                data={"requiredCapabilities": {"extensions": {self.identifier: {}}}},
            )
        request: Any = ctx.request
        named = None if request is None else request.headers.get("mcp-name")
        if named is not None and named != params.task_id:
            raise MCPError(
                code=HEADER_MISMATCH, message="the mcp-name header differs from the body's taskId"
            )
        self._has_room()
        task = self._tasks.get(params.task_id)
        if task is None or task.owner != caller_name():
            raise MCPError(code=INVALID_PARAMS, message="there is no task with this ID")
        return task

    async def _get(self, ctx: _Ctx, params: TaskParams) -> dict[str, Any]:
        task = self._find(ctx, params)
        return {"resultType": "complete", **task.described(), **task.outcome()}

    async def _update(self, ctx: _Ctx, params: UpdateParams) -> dict[str, Any]:
        needs = self._find(ctx, params).progress.needs
        if needs is not None:
            needs.answer(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: _Ctx, params: TaskParams) -> dict[str, Any]:
        self._find(ctx, params).cancel()
        return {"resultType": "complete"}

    def _is_declared(self, ctx: _Ctx) -> bool:
        known = ctx.session.client_capabilities
        extensions = None if known is None else known.extensions
        return ctx.protocol_version == MCP_REVISION and self.identifier in (extensions or ())


def _dumped(result: Any) -> Any:
    if isinstance(result, CallToolResult):
        return result.model_dump(by_alias=True, exclude_none=True, mode="json")
    return result


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
