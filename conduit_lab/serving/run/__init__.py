"""Run: serve an app on a thread, in a process, or in worker processes."""
