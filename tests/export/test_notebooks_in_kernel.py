"""Each hostile notebook in a real kernel, its export asked in an empty world."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.export.notebooks.collection import NOTEBOOKS
from tests.export.notebooks.kernel import run_in_kernel
from tests.export.notebooks.known_wrong import KNOWN_WRONG
from tests.export.notebooks.notebook import Notebook
from tests.export.notebooks.verdict import Verdict, table

pytestmark = pytest.mark.long

_KERNELS = 2  # at a time

_Verdicts = dict[str, Future[Verdict]]


@pytest.fixture(scope="module")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Verdicts]:
    """The verdicts of the chosen notebooks, as they come; their table is printed at the end."""
    chosen: list[Notebook] = [
        item.callspec.params["notebook"]  # type: ignore[misc]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "verdicts" in item.fixturenames
    ]
    with ThreadPoolExecutor(_KERNELS) as pool:
        found = {
            each.name: pool.submit(run_in_kernel, each, tmp_path_factory.mktemp("notebook"))
            for each in chosen
        }
        yield found
        pool.shutdown(cancel_futures=True)
    ended = [each for each in found.values() if each.done() and not each.cancelled()]
    print("\n" + table(each.result() for each in ended if each.exception() is None))  # noqa: T201


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(
            each,
            id=each.name,
            marks=pytest.mark.xfail(reason=KNOWN_WRONG[each.name], strict=True)
            if each.name in KNOWN_WRONG
            else (),
        )
        for each in NOTEBOOKS.values()
    ],
)
def test_an_export_is_equal_or_refused_for_the_true_reason(
    notebook: Notebook, verdicts: _Verdicts
) -> None:
    found = verdicts[notebook.name].result()
    assert found.is_right, f"{found.word}: {found.detail}"
