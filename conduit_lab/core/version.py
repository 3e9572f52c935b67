"""The version of the package, read by both the code and the build."""

__version__ = "0.1.0"
