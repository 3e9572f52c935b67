"""Stores and what a search returns."""

from __future__ import annotations

from typing import assert_type

from conduit_lab import VectorStore

store = VectorStore(2)
store.add("a", [1.0, 0.0], {"section": "returns"})
store.add(1, [1.0, 0.0])  # error

hits = store.search([1.0, 0.0], top_k=3, where={"section": "returns"})
assert_type(hits[0].id, str)
assert_type(hits[0].score, float)
assert_type(store.search("my kettle broke")[0].id, str)
assert_type(store.search(["my kettle broke"])[0][0].id, str)
print(hits.trail)  # error
print(hits[0].trail)  # error
store.search([1.0, 0.0], mode="sparse")  # error
store.search([1.0, 0.0], top=3)  # error
assert_type(len(store), int)
