"""Sessions: opened model files, shared between callers within a memory budget."""
