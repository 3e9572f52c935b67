"""Hostile notebooks, each with the expected outcome of exporting its app."""
