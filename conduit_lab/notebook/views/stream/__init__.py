"""The live view of a Stream."""
