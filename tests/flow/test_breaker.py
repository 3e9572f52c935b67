"""CircuitBreaker, against a model of it."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.flow import breaker
from conduit_lab.flow.breaker import CircuitBreaker

RESET = 10

steps = st.lists(
    st.one_of(
        st.sampled_from(["succeed", "fail", "withdraw"]),
        st.integers(1, RESET),  # seconds that pass
    ),
    max_size=60,
)


@given(steps=steps, open_after=st.integers(1, 3))
def test_calls_one_after_the_other(steps: list[str | int], open_after: int) -> None:
    now, failures, next_probe = 0, 0, None
    with patch.object(breaker, "monotonic", lambda: now):
        circuit = CircuitBreaker("stage", open_after, RESET)
        for step in steps:
            if isinstance(step, int):
                now += step
                continue
            admitted = next_probe is None or now >= next_probe
            assert circuit.admit() is admitted
            if not admitted:
                continue
            if next_probe is not None:
                assert not circuit.admit()  # while it is probed
            getattr(circuit, step)()
            if step == "succeed":
                failures, next_probe = 0, None
            elif step == "fail":
                failures += 1
                next_probe = now + RESET if failures >= open_after else None
            elif next_probe is not None:
                next_probe = now
            assert circuit.is_open is (next_probe is not None)
