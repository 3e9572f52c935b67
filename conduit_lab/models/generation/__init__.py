"""Text generation: decoder folders, prompts, batched decoding, sampling and constraints."""
