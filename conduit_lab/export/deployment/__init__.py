"""Deployment: the files that run an exported folder in containers and on clusters."""
