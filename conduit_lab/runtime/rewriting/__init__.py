"""Rewriting: quantized, fused and otherwise derived graphs."""
