"""Forms: write each family of live objects as source and files. One file per family."""
