"""Words that every room shares. NumPy and anyio at most."""
