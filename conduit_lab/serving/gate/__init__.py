"""The gate: limits and the request context, which every request passes before a face."""
