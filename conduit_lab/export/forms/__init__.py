"""Forms: how each family of live objects becomes source and files. One file per family."""
