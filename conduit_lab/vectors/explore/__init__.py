"""A map of a store's entries: projected, clustered, named and searched."""

SHOWN_ENTRIES = 100_000  # a random sample if there are more
