"""Measuring: the accelerator check, timing in turns, tuned session options."""
