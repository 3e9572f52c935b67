"""Batching: concurrent calls coalesced into one run."""
