"""Composition: stages made of stages."""
