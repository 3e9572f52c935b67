"""Docs: an app's page at /docs, and at / for browsers; one file without external resources."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.origins import page

DOCS_PATH = "/docs"

_FOLDER = Path(__file__).parent / "docs_page"
_FORM = ("elements.js", "schema.js", "fields.js", "calls.js", "answer.js", "form.js")
_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the routes of the page; it reads the endpoints from /openapi.json."""
    return [
        page(Route(DOCS_PATH, _DocsFace(), methods=["GET"])),
        page(Route("/", _FrontFace(), methods=["GET"])),
    ]


@cache
def form_script() -> str:
    """Return the script of an endpoint form, which defines `EndpointForm` and `endpointsOf`."""
    return joined_modules(*(_FOLDER / name for name in _FORM))


def joined_modules(*modules: Path) -> str:
    """Return modules joined to one script, without their imports and exports."""
    texts = (module.read_text("utf-8") for module in modules)
    return "\n".join(_IMPORT.sub("", text).replace("\nexport ", "\n") for text in texts)


@cache
def form_style() -> str:
    """Return the style of an endpoint form."""
    return _read("form.css")


def page_script() -> str:
    """Return the script of an endpoints page, which defines `Page` and includes `form_script`."""
    return f"{form_script()}\n{joined_modules(_FOLDER / 'page.js')}"


def page_style() -> str:
    """Return the style of an endpoints page."""
    return f"{_read('page.css')}\n{form_style()}"


@cache
def docs_page() -> tuple[bytes, bytes]:
    """Return the page, the same for every app, and its content security policy."""
    script = f"{page_script()}\n{joined_modules(_FOLDER / 'served.js')}"
    style = page_style()
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>API</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f'<style>{style}</style>\n</head>\n<body>\n<div id="page"></div>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:"
    )
    return page.encode(), policy.encode()


class _DocsFace:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page, policy = docs_page()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(page)),
            (b"content-security-policy", policy),
            (b"cache-control", b"no-cache"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else page
        await send({"type": "http.response.body", "body": body})


class _FrontFace(_DocsFace):
    """Serves the page to browsers; clients that do not accept HTML get a 404."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepts = b",".join(value for name, value in scope["headers"] if name == b"accept")
        if b"text/html" not in accepts:
            raise HttpError(
                404, "not_found", "nothing is served at /: /openapi.json has the endpoints"
            )
        await super().__call__(scope, receive, send)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
