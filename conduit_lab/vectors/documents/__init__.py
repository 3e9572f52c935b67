"""Documents: convert files to text, text to chunks, and store the chunks."""
