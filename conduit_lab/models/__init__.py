"""What `load_model` returns: models and embedders."""
