"""Faces: each protocol of the served app, as routes."""
