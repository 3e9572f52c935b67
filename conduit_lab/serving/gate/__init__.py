"""The gate: what every request passes before an endpoint sees it."""
