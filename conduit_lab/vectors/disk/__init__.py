"""A store on disk: one SQLite file, and snapshots."""
