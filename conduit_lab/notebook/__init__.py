"""Notebook integration: the only package that imports IPython and widgets."""
