"""The garbage collector is paused or tuned during a block, and afterwards as it was before."""

from __future__ import annotations

import gc

import pytest

from conduit_lab.core.collector import paused_collector, resume_collector, tuned_for_requests


def test_it_pauses_and_resumes_also_after_an_error() -> None:
    with pytest.raises(ValueError, match="kettle"), paused_collector():
        assert not gc.isenabled()
        raise ValueError("kettle")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_resumes_inside_the_block_without_the_objects_of_the_start() -> None:
    made: list[list[int]] = [[]]
    try:
        with paused_collector():
            resume_collector()
            assert gc.isenabled()
            assert not any(each is made for each in gc.get_objects())
    finally:
        gc.unfreeze()


def test_it_is_tuned_for_requests_until_the_end_of_the_block() -> None:
    thresholds = gc.get_threshold()
    made: list[list[int]] = [[]]
    try:
        with pytest.raises(ValueError, match="kettle"), tuned_for_requests():
            assert gc.get_threshold()[0] > thresholds[0]
            assert not any(each is made for each in gc.get_objects())
            raise ValueError("kettle")
        assert gc.get_threshold() == thresholds
    finally:
        gc.unfreeze()
