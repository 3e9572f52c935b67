"""Streams: one running generation, its bounded log and its readers."""
