"""Web: export an app as a static page whose endpoints run in the browser, on onnxruntime-web."""
