"""Measuring: the accelerator check, alternating timings, tuned session options."""
