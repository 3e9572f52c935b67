"""The vectors of a store in memory, and the search over them."""
