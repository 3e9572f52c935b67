"""Models beside one another: compared, optimized and tuned, each by measuring."""
