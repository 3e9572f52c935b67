"""Export: turn a live session into a self-contained folder, and prove that its answers match."""
