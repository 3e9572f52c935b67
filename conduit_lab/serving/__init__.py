"""Serving: the app registry, HTTP, and SSE streams; only it imports Starlette and uvicorn."""
