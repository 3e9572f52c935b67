"""Rows: where a graph has its batch axis, and whether the rows of a batch are independent."""
