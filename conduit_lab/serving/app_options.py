"""App options: limits, protocols and callers; an exported app also reads the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict
from urllib.parse import urlsplit

from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.protocols import check_protocols
from conduit_lab.serving.gate.hosts import HOSTS_VARIABLE, Hosts
from conduit_lab.serving.gate.keys import Key, given_keys
from conduit_lab.serving.gate.origins import ORIGINS_VARIABLE, Origins
from conduit_lab.serving.gate.signed_links import check_link_secret
from conduit_lab.serving.limits import Limits, setting
from conduit_lab.serving.trace_sampling import TraceMode, check_trace_mode

PUBLIC_URL_VARIABLE = "CONDUIT_LAB_PUBLIC_URL"


class AppOptions(TypedDict, total=False):
    """Keyword arguments of `App`: limits, protocols, callers and tracing."""

    limits: Limits | None
    protocols: Sequence[str]
    keys: Iterable[Key] | None
    hosts: Sequence[str] | None
    origins: Sequence[str]
    public_url: str
    trace: TraceMode | None


def set_options(app: EndpointHost, options: AppOptions, environ: Mapping[str, str]) -> None:
    """Set an app's options; `environ` overrides limits, hosts, origins and public URL.

    Keys default to those of the process environment.
    """
    check_link_secret()
    app.limits = Limits.from_environment(options.get("limits"), environ)
    trace = options.get("trace")
    app.trace = app.default_trace if trace is None else check_trace_mode(trace)
    app.protocols = check_protocols(options.get("protocols", ()))
    app.keys = given_keys(options.get("keys"))
    app.hosts = Hosts(setting(HOSTS_VARIABLE, options.get("hosts"), environ))
    app.origins = Origins(setting(ORIGINS_VARIABLE, options.get("origins"), environ))
    app.public_url = check_public_url(
        environ.get(PUBLIC_URL_VARIABLE, "") or options.get("public_url", "")
    )


def check_public_url(url: str) -> str:
    """Validate an app's public URL and strip its trailing slash; else raise `EndpointError`."""
    if url == "":
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for an invalid port
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in url
    except ValueError:
        fits = False
    if not fits or not url.isascii() or set(url) & set('?#\\ "<>') or not url.isprintable():
        raise EndpointError(
            "public_url= expects the address that clients use, such as "
            f"'https://desk.example.org/app', without query and fragment, got {url!r}"
        )
    return url.rstrip("/")
