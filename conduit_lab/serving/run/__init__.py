"""Run: the served app on a thread or in a process."""
