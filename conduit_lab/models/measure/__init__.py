"""Comparison, optimization and tuning of models by measurement."""
