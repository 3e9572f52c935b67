"""Deployment files: run an exported folder in containers and on clusters."""
