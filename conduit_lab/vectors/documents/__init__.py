"""Documents: files to text, text to chunks, chunks to a store."""
