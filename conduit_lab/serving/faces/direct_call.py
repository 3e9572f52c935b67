"""DirectCall: a call of a value endpoint without a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from starlette.types import Receive, Scope, Send

from conduit_lab.core.caller import enter_caller
from conduit_lab.core.paths import enter_root
from conduit_lab.core.progress import silence
from conduit_lab.core.streams.backpressure import begin_patience
from conduit_lab.core.trace.tally import Tally, begin_tally
from conduit_lab.models.model import Model
from conduit_lab.serving import codec
from conduit_lab.serving.answer_size import is_small
from conduit_lab.serving.call import Call
from conduit_lab.serving.faces.array_answer import array_bytes, array_type_for, is_inline
from conduit_lab.serving.faces.transport import SEND_SECONDS
from conduit_lab.serving.faces.value_answer import call_headers, send_value
from conduit_lab.serving.gate.direct_request import DirectRequest
from conduit_lab.serving.gate.request_cycle import head_lines
from conduit_lab.serving.gate.tenants import caller_of
from conduit_lab.serving.plan import Plan


class DirectCall:
    """One untraced call: its handler runs on the event loop, and a model's batch completes it.

    Equivalent to `Plan.run`. Anything slower, such as a large answer, continues in a task.
    """

    __slots__ = ("_begun", "_call", "_is_answered", "_plan", "_request", "_tally")

    def __init__(self, plan: Plan, call: Call, request: DirectRequest) -> None:
        self._plan = plan
        self._call = call
        self._request = request
        self._tally = Tally(plan.endpoint.name, plan.app.statistics)
        self._begun = perf_counter()
        self._is_answered = False  # the model has called back

    def begin(self, size: int) -> None:
        """Call the handler, then the model, if any; `size` is the request size in bytes.

        An `async def` handler is awaited in a task, like any other.
        """
        plan = self._plan
        if plan.is_async:
            self._request.go_on(partial(self._go_on, partial(plan.awaited, self._call)))
            return
        try:
            # its own context, as in a task: the handler may set variables
            value = copy_context().run(self._handle, size)
            if plan.model is not None:
                self._predict(plan.model, value)
                return
        except BaseException as error:  # no task would catch it
            self._fail(error)
            return
        self._end(value)

    def _handle(self, size: int) -> Any:
        silence()
        self._enter()
        return self._plan.call_here(self._call, size)

    def _enter(self) -> None:
        """Set the call's context variables; the context must be the call's own."""
        enter_root(self._plan.app.root)
        begin_patience(SEND_SECONDS)
        begin_tally(self._tally)

    def _predict(self, model: Model, value: Any) -> None:
        statistics = self._tally.statistics
        try:
            withdraw = model.submit(value, self._predicted, self._request.connection)
        except Exception:
            statistics.count(model.name)
            statistics.count_error(model.name)
            raise
        if withdraw is None:
            self._request.go_on(partial(self._go_on, partial(self._plan.rest, value)))
        else:
            statistics.count(model.name)
            if not self._is_answered:
                self._request.wait(partial(self._give_up, withdraw))

    def _predicted(self, answer: Any, error: BaseException | None) -> None:
        self._is_answered = True
        if error is None:
            self._end(answer)
            return
        self._count_error()
        self._fail(error)

    def _give_up(self, withdraw: Callable[[], None], error: BaseException) -> None:
        withdraw()
        self._count_error()
        self._record_failure(error)

    def _count_error(self) -> None:
        if (model := self._plan.model) is not None:
            self._tally.statistics.count_error(model.name)

    def _end(self, value: Any) -> None:
        request, tally, kind = self._request, self._tally, None
        if type(value) is np.ndarray:
            kind = array_type_for(value, request.context.headers)
        if not (is_small(value) if kind is None else is_inline(value)):
            rest = partial(self._plan.rest, value, is_predicted=True)
            request.go_on(partial(self._go_on, rest))
            return
        tally.ended = True
        tally.statistics.count(tally.name)
        try:
            body = codec.dumps(value) if kind is None else array_bytes(value, kind)
        except Exception as error:
            request.fail(error)
            return
        record, more = tally.record, b""
        if record.fallbacks or record.on_cpu:
            more = head_lines(call_headers(record, request.context.server)).lines
        if kind is None:
            request.answer(body, more)
        else:
            about = b"content-type: %b\r\nvary: accept\r\n" % kind.encode()
            request.answer(body, more, about=about)

    def _fail(self, error: BaseException) -> None:
        self._record_failure(error)
        self._request.fail(error)

    def _record_failure(self, error: BaseException) -> None:
        copy_context().run(self._record_here, error)

    def _record_here(self, error: BaseException) -> None:
        enter_root(self._plan.app.root)
        enter_caller(caller_of(self._request.context))
        self._plan.record_failure(self._call, self._begun, error)

    async def _go_on(
        self,
        rest: Callable[[Receive], Awaitable[tuple[Any, bool]]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Complete the call in a task, as an ASGI app; `rest` is a partial method of its plan."""
        plan, tally = self._plan, self._tally
        self._enter()
        try:
            result, small = await rest(receive)
        except BaseException as error:
            plan.record_failure(self._call, self._begun, error)
            raise
        tally.ended = True
        tally.statistics.count(tally.name)
        await send_value(plan.threads, result, small, tally.record, scope, receive, send)
