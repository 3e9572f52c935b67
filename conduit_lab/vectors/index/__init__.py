"""A store's vectors in memory, and the search over them."""
