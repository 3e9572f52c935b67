"""Correct and wrong uses of the public API, for type checkers: `tests/test_typing.py` runs them."""
