"""The endpoints of an app: a list that is found in by path or name, and shows itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import UnknownName
from conduit_lab.serving.endpoints import Endpoints


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab("desk", root=tmp_path)

    @lab.post("/add")
    def add(id: str, n: int = 1) -> int:
        """Add one."""
        return n

    @lab.get("/items")
    def items() -> list[int]:
        return []

    return lab


def test_one_is_found_by_place_path_and_name(lab: Lab) -> None:
    add, items = lab.endpoints
    assert lab.endpoints[0] is lab.endpoints["/add"] is lab.endpoints["add"] is add
    assert lab.endpoints[-1] is lab.endpoints["items"] is items
    assert lab.endpoints == [add, items]


@pytest.mark.parametrize(
    ("key", "meant"), [("/ad", "'/add'"), ("item", "'items'"), ("itms", "'items'")]
)
def test_an_unknown_one_names_the_nearest(lab: Lab, key: str, meant: str) -> None:
    with pytest.raises(UnknownName) as caught:
        lab.endpoints[key]
    assert str(caught.value) == (
        f"no endpoint {key!r}; there are /add, /items. Did you mean {meant}?"
    )


def test_none_has_code_to_begin_with() -> None:
    with pytest.raises(UnknownName, match="there are none yet"):
        Endpoints()["/a"]
    assert '@lab.post("/path")' in repr(Endpoints())


def test_the_table_has_the_cost_and_the_proof_of_each(lab: Lab) -> None:
    lab.endpoints["add"]("a")
    head, columns, add, items = repr(lab.endpoints).splitlines()
    assert head == "Endpoints · 2 · 1 of 2 ready for an export"
    assert columns.split() == ["endpoint", "function", "answers", "proof", "calls", "p50"]
    assert add.startswith("POST /add   add(id: str, n: int = 1) -> int  value    ✓ ready")
    assert items.split("  ")[-1] == "○ missing"


def test_a_served_app_has_no_proof(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    app.post("/a")(lambda n: n)
    assert repr(app.endpoints).splitlines()[0] == "Endpoints · 1"
    assert app.proof(app.endpoints[0]) == ""


def test_a_card_has_signature_docstring_cost_and_a_call(lab: Lab) -> None:
    add = lab.endpoints["add"]
    for _ in range(2):
        add("a")
    head, *rest = add._view().plain().splitlines()
    assert head.startswith("Endpoint 'POST /add' · answers with a value · 2 calls · p50 ")
    assert head.endswith("· ✓ ready")
    assert rest == [
        "    add(id: str, n: int = 1) -> int",
        "Add one.",
        "to call it:",
        '    add("…")',
    ]
    assert add._repr_mimebundle_()["text/plain"] == repr(add)
