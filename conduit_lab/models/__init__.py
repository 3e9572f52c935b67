"""Models: the results of `load_model`."""
