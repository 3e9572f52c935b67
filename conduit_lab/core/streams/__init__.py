"""Streams: a running generation, its bounded log and its readers."""
