"""Checks of a model file before onnxruntime opens it."""
