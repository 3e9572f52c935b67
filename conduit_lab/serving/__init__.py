"""The only room that imports Starlette or uvicorn: the registry, HTTP, streams over SSE."""
