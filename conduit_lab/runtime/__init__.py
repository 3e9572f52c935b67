"""The only room that imports onnxruntime or onnx: devices, sessions, NumPy weights."""
