"""Shapes: how to display a stream, by kind of chunk: text, numbers, records, images, sound."""
