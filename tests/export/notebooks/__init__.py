"""Hostile notebooks: what each must come to when its app is exported."""
