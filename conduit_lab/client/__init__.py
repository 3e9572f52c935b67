"""Client: a served app as Python objects; only it imports httpx."""
