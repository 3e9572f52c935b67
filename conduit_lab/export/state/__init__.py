"""State: everything that an app's endpoints reach, as lines that two processes compare."""
