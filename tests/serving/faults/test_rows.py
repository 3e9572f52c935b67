"""The place of the test of each row of the list of faults; those of these files have its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
NUMBERED = [*range(1, 18), *range(55, 59), *range(66, 76), 78, 79, 80]
# rows of which another room tests the mechanism
ELSEWHERE = {
    54: ("serving/run/test_hot_swap.py", "test_a_model_is_swapped_under_load"),
    59: ("serving/run/test_process.py", "test_it_says_that_it_is_not_ready_and_answers_on"),
    61: ("serving/test_error_table.py", "test_an_exception_has_its_status_and_type"),
    62: ("serving/run/test_hot_swap.py", "test_health_answers_while_a_model_runs"),
    65: ("serving/test_soak.py", "test_an_app_under_load_with_faults_stays_flat"),
    76: ("serving/test_many_problems.py", "test_the_answer_to_many_wrong_values_is_short"),
    77: ("serving/test_memory.py", "test_a_served_stream_of_20_000_predictions_leaves"),
    81: ("models/text/test_shortening.py", "test_at_most_a_few_times_max_length_is_tokenised"),
    82: ("serving/test_endpoint_path.py", "test_a_wrong_path_is_refused_and_the_server_goes_on"),
    83: ("serving/run/test_lives.py", "test_two_servers_of_one_lab_are_apart"),
    84: ("serving/run/test_lives.py", "test_a_mounted_app_opens_at_its_first_request"),
    85: ("serving/gate/test_departure.py", "test_an_async_handler_is_cancelled"),
    86: ("export/test_secret_files.py", "test_a_secret_in_a_recorded_call_is_refused"),
    87: ("vectors/documents/test_sources.py", "test_a_link_that_leaves_its_folder_is_a_problem"),
    88: ("serving/test_value_forms.py", "test_answer_stream_and_example_are_the_same"),
}


def names_in(path: Path) -> list[str]:
    """Return the names of the tests of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node.name for node in tree.body if isinstance(node, kinds)]


def test_each_row_of_requests_streams_and_callers_has_a_test_with_its_number() -> None:
    names = [name for path in Path(__file__).parent.glob("test_*.py") for name in names_in(path)]
    found: set[int] = set()
    for name in names:
        if (numbers := re.match(r"test_rows?_(\d+)(?:_(?:and|to)_(\d+))?_", name)) is not None:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            found |= {first, last} if "_and_" in numbers[0] else set(range(first, last + 1))
    assert [row for row in NUMBERED if row not in found] == []


@pytest.mark.parametrize("row", ELSEWHERE)
def test_each_other_row_has_its_test(row: int) -> None:
    file, begin = ELSEWHERE[row]
    assert any(name.startswith(begin) for name in names_in(TESTS / file))
