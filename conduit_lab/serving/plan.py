"""Plan: the execution of one endpoint's requests, adapted to measured call times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.types import Receive

from conduit_lab.core.materialize import materialize
from conduit_lab.core.occupancy import occupied_seconds, usage
from conduit_lab.core.paths import enter_root, leave_root
from conduit_lab.core.stage import Stage, endless
from conduit_lab.core.streams.backpressure import begin_patience, end_patience
from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.tally import tallying
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Predictions
from conduit_lab.serving.answer_size import is_small
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces.stream_start import begin_stream
from conduit_lab.serving.faces.transport import SEND_SECONDS
from conduit_lab.serving.gate.departure import Watch, while_connected
from conduit_lab.serving.handler_pace import HandlerPace
from conduit_lab.serving.handler_threads import HandlerThreads
from conduit_lab.serving.sampled_calls import SampledCalls


async def serve_call(
    app: EndpointHost, endpoint: Endpoint[..., Any], call: Call, size: int, receive: Receive
) -> tuple[Any, bool]:
    """Return the answer to a call made by a protocol, and whether it is small.

    The endpoint runs as for a request to its path, with the same pacing and cancellation; its trace
    is part of the protocol call's. The answer of a stream endpoint is its running stream. `size` is
    the request size in bytes.
    """
    if endpoint.shape == "stream":
        stream, _ = await begin_stream(app, endpoint, call, size, receive)
        return stream, True
    if endpoint.plan is None:
        endpoint.plan = Plan(app, endpoint)
    plan: Plan = endpoint.plan
    return await plan.run_inside(call, size, receive)


class Plan(SampledCalls):
    """Runs the calls of a value endpoint from the event loop.

    An `async def` handler is awaited. Any other runs on a thread until its calls prove short, then
    on the loop: see `HandlerPace`. The stage `then` is awaited, so calls of different requests
    share a batch. Pending work is cancelled when the client disconnects.
    """

    __slots__ = ("_first", "_kind", "_pace", "endpoint", "model", "then", "threads")

    def __init__(self, app: EndpointHost, endpoint: Endpoint[..., Any]) -> None:
        super().__init__(app, endpoint.name, endpoint.begin)
        self.endpoint = endpoint
        self._first = endpoint.first
        self.then = then = endpoint.then
        self.model = then if type(then) is Model else None
        self._kind = _kind(endpoint)
        self._pace = HandlerPace()
        self.threads: HandlerThreads = app.handler_threads

    if TYPE_CHECKING:

        async def run(
            self, call: Call, size: int, receive: Receive
        ) -> tuple[Any, bool, CallRecord]:
            """Return the answer of a call, whether it is small, and its call record.

            `size` is the request size in bytes. Iterators in the answer become lists.
            """

    @property
    def is_async(self) -> bool:
        """Whether the handler is awaited in a task."""
        return self._kind == _ASYNC

    def is_direct(self, size: int) -> bool:
        """Return whether a call of `size` bytes can run without a task: see `DirectCall`."""
        if self._kind != _FUNCTION or not self._pace.is_short(size):
            return False
        return self.then is None or self.model is not None

    async def run_inside(self, call: Call, size: int, receive: Receive) -> tuple[Any, bool]:
        """Return the answer of a call inside a protocol's call, and whether it is small.

        It joins the trace of the outer call, or is counted with it.
        """
        endpoint, tally = self.endpoint, tallying()
        root = enter_root(self.app.root)
        try:
            if current() is None and tally is not None:
                work = partial(self._work, tally.record, size=size, receive=receive)
                result, small, _ = await tally.acall(endpoint.name, work, call)
            else:
                with endpoint.begin(call) as span:
                    result, small, _ = await self._work(span.record, call, size, receive)
            return result, small
        finally:
            leave_root(root)

    async def _work(
        self, record: CallRecord, call: Call, size: int, receive: Receive
    ) -> tuple[Any, bool, CallRecord]:
        # a stream created here may wait this long for its reader before it drops chunks
        patience = begin_patience(SEND_SECONDS)
        try:
            kind = self._kind
            if kind == _ASYNC:
                result = await while_connected(receive, self._await(call))
            elif kind == _VALUE or self._pace.is_short(size):
                result = self.call_here(call, size)
            else:
                result = await while_connected(receive, self._call_on_thread(call, size))
            small = self.then is None and is_small(result)
            if not small:
                result, small = await self.rest(result, receive)
            if call.span is not None:
                call.span.output = result
            return result, small, record
        finally:
            end_patience(patience)

    async def rest(
        self, result: Any, receive: Receive, *, is_predicted: bool = False
    ) -> tuple[Any, bool]:
        """Complete a handler's or model's result; return the answer and whether it is small."""
        then = None if is_predicted else self.then
        if type(then) is Model:
            watch = Watch(receive)  # cancelling a model's call removes it from the queue
            try:
                result = await then.acall(result)
            except asyncio.CancelledError:
                watch.check()
                raise
            finally:
                watch.end()
        elif then is not None:
            result = await while_connected(receive, self._then_answer(then, result))
        if small := is_small(result):
            return result, small
        if type(result) not in _WHOLE:
            result = await while_connected(receive, self.threads.run(materialize, result))
        return result, small

    async def awaited(self, call: Call, receive: Receive) -> tuple[Any, bool]:
        """Await an `async def` handler; return the answer and whether it is small."""
        return await self.rest(await while_connected(receive, self._await(call)), receive)

    async def _await(self, call: Call) -> Any:
        with CallScope():
            result = self._first(**call.kwargs)
            if isinstance(result, Awaitable):
                result = await result
            if isinstance(result, AsyncIterator):
                result = [item async for item in result]
            return result

    async def _then_answer(self, then: Stage, value: Any) -> Any:
        if type(then).arun is Stage.arun:
            return await self.threads.run(then, value)
        with CallScope():
            return await then.acall(value)

    def call_here(self, call: Call, size: int) -> Any:
        """Call the handler on the event loop's thread, with the running loop hidden from it."""
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        before, begun = usage(), perf_counter()
        try:
            return self._first(**call.kwargs)
        except RecursionError as error:
            raise endless(self.endpoint.name, error) from None
        finally:
            asyncio._set_running_loop(loop)
            self._pace.ran_on_loop(size, occupied_seconds(begun, before))

    async def _call_on_thread(self, call: Call, size: int) -> Any:
        begun = perf_counter()
        times: list[float] = []
        try:
            return await self.threads.run(self._call_timed, call, times)
        finally:
            cpu, wall = times or (0.0, perf_counter() - begun)
            self._pace.ran_on_thread(size, cpu, wall)

    def _call_timed(self, call: Call, times: list[float]) -> Any:
        before, begun, cpu = usage(), perf_counter(), thread_time()
        try:
            result = self._first(**call.kwargs)
            return materialize(result) if self.then is None else result
        except RecursionError as error:
            raise endless(self.endpoint.name, error) from None
        finally:
            times += (thread_time() - cpu, occupied_seconds(begun, before))


_ASYNC, _FUNCTION, _VALUE = range(3)
_WHOLE = (np.ndarray, Predictions)  # contain no iterators


def _kind(endpoint: Endpoint[..., Any]) -> int:
    """Return how the first function of an endpoint is called."""
    if endpoint.is_async:
        return _ASYNC
    return _FUNCTION if endpoint.first is endpoint.function else _VALUE
