"""The OpenAPI document of an app, as its server will give it."""

from __future__ import annotations

from typing import Any

from conduit_lab import App


def describe(app: App) -> None:
    """Serve `/openapi.json` from the app's endpoints."""

    def openapi() -> Any:
        paths: dict[str, Any] = {}
        for e in app.endpoints:
            if e.path == "/openapi.json":
                continue
            schema = e.signature.schema()
            props = schema.get("properties", {})
            required = schema.get("required", [])
            in_path = [n for n in props if "{" + n + "}" in e.path]
            op: dict[str, Any] = {
                "description": e.function.__doc__ or "",
                "x-conduit-endpoint": {
                    "name": e.name,
                    "shape": e.shape,
                    "method": e.method,
                    "resume": e.resumes.seconds,
                    "whole": e.signature.whole,
                    "parameters": list(props),
                },
            }
            params = [
                {
                    "name": n,
                    "in": "path" if n in in_path else "query",
                    "schema": props[n],
                    "required": n in required,
                }
                for n in props
                if n in in_path or e.method == "GET"
            ]
            op["parameters"] = params
            body = {n: p for n, p in props.items() if n not in in_path}
            if e.method != "GET" and body:
                whole = e.signature.whole
                s = (
                    props[whole]
                    if whole
                    else {
                        "type": "object",
                        "properties": body,
                        "required": [r for r in required if r in body],
                    }
                )
                op["requestBody"] = {
                    "required": bool([r for r in required if r in body]),
                    "content": {"application/json": {"schema": s}},
                }
            paths.setdefault(e.path, {})[e.method.lower()] = op
        return {
            "openapi": "3.1.0",
            "info": {"title": app.name, "version": "1", "x-conduit-lab": {"version": "0.1"}},
            "paths": paths,
        }

    app.get("/openapi.json")(openapi)
