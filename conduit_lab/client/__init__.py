"""Client: a served app as Python objects; the only room that imports httpx."""
