"""Faces: one module per protocol, whose `routes` returns its routes."""
