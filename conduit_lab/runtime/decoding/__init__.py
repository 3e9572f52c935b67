"""Decoding: a decoder's sessions, inputs and KV cache."""
