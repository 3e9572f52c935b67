"""A map of a store's entries: projected, clustered, named, and searched."""
