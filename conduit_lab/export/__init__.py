"""From a live session to a folder that runs by itself, and the proof that it answers alike."""
