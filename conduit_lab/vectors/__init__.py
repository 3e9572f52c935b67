"""Vector search: `VectorStore` in `conduit_lab.vectors.store`."""
