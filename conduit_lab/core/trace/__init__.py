"""Traces: the typed record of a call, its spans and how they are recorded."""
