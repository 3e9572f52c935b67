"""Core: building blocks shared by all other packages; depends only on NumPy and anyio."""
