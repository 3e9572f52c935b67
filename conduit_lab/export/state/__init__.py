"""State: the objects that an app's endpoints reach, as lines to compare between processes."""
