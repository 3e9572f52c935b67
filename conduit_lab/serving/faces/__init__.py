"""Faces: one module per protocol; its `routes` returns the routes of the endpoints."""
