"""Models compared, optimized and tuned by measuring."""
