"""The version of the package, read here by the code and by the build."""

__version__ = "0.1.0"
