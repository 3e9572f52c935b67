"""Each row of the faults in docs/security.md has a test that does it, or a proxy that covers it.

The tests of the serving room have the number of their row; other rooms' tests are listed here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
SECURITY = TESTS.parent / "docs" / "security.md"
ROWS = {*range(1, 33), *range(55, 89)}  # those between are files, stores and models, not requests
ELSEWHERE = {
    59: "serving/run/test_process.py::test_it_says_that_it_is_not_ready_and_answers_on",
    64: "runtime/sessions/test_cache.py::test_a_forked_child_opens_its_own_session",
    65: "serving/test_soak.py::test_an_app_under_load_with_faults_stays_flat",
    76: "serving/test_many_problems.py::test_the_answer_to_many_wrong_values_is_short",
    77: "serving/test_memory.py::test_a_served_stream_of_20_000_predictions_leaves",
    81: "models/text/test_shortening.py::test_at_most_a_few_times_max_length_is_tokenised",
    82: "serving/test_endpoint_path.py::test_a_wrong_path_is_refused_and_the_server_goes_on",
    83: "serving/run/test_lives.py::test_two_servers_of_one_lab_are_apart",
    84: "serving/run/test_lives.py::test_a_mounted_app_opens_at_its_first_request",
    85: "serving/gate/test_departure.py::test_an_async_handler_is_cancelled",
    86: "export/test_secret_files.py::test_a_secret_in_a_recorded_call_is_refused",
    87: "vectors/documents/test_sources.py::test_a_link_that_leaves_its_folder_is_a_problem",
    88: "serving/test_value_forms.py::test_answer_stream_and_example_are_the_same",
}


def names_in(path: Path) -> list[str]:
    """Return the names of the tests of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node.name for node in tree.body if isinstance(node, kinds)]


def rows_of(name: str) -> set[int]:
    """Return the rows in the name of a test: `test_row_8_…`, `test_rows_1_to_7_…`, `_9_and_68_`."""
    found = re.match(r"test_rows?((?:_(?:to_|and_)?\d+)+)_", name)
    if found is None:
        return set()
    rows = set()
    for begin, end in re.findall(r"(\d+)(?:_to_(\d+))?", found[1]):
        rows |= set(range(int(begin), int(end or begin) + 1))
    return rows


def documented() -> dict[int, str]:
    """Return the rows of the table in docs/security.md, each with its last cell."""
    lines = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", SECURITY.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == len({int(number) for number, _ in lines})
    return {int(number): answer for number, answer in lines}


def test_the_numbers_in_the_name_of_a_test_are_read() -> None:
    assert rows_of("test_row_08_a_gigabyte") == {8}
    assert rows_of("test_rows_1_to_3_and_9_bodies") == {1, 2, 3, 9}
    assert rows_of("test_rows_66_67_69_a_stranger") == {66, 67, 69}
    assert rows_of("test_rowdy") == rows_of("test_20_rows") == set()


def test_every_row_has_a_test_or_a_proxy() -> None:
    answers = documented()
    assert set(answers) == ROWS
    tested = set(ELSEWHERE)
    for path in (TESTS / "serving").rglob("test_*.py"):
        for name in names_in(path):
            tested |= rows_of(name)
    assert {row for row in ROWS - tested if "proxy" not in answers[row]} == set()


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_row_of_another_room_has_its_test(row: int) -> None:
    file, begin = ELSEWHERE[row].split("::")
    assert any(name.startswith(begin) for name in names_in(TESTS / file))
