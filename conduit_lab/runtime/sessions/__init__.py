"""Sessions: one checked file in onnxruntime or NumPy, shared and cached."""
