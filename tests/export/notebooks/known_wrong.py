"""Notebooks whose export does not yet have the right verdict: the name, and the cause."""

KNOWN_WRONG: dict[str, str] = {}
