"""The shown form of a stream by the kind of its chunks: text, numbers, records, pictures, sound."""
