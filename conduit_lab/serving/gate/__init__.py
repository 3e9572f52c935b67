"""The gate: the checks and the request context of every request, before a face runs."""
