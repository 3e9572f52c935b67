"""An app as a static page: its endpoints run in the reader's browser, on onnxruntime-web."""
