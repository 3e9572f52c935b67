"""Bind rules: the addresses on which a server may listen without a key."""

from __future__ import annotations

from conduit_lab.core.errors import ServeError
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.gate.hosts import is_loopback


def check_bind(app: EndpointHost, host: str, *, insecure: bool = False) -> None:
    """Raise `ServeError` for a non-loopback address unless the app has a key.

    `insecure` allows such an address without a key.
    """
    if insecure or app.keys or is_loopback(host):
        return
    raise ServeError(
        f"on {host} anyone who can reach this machine could call {app.name!r} without a key: "
        "create one with `conduit-lab key NAME` and set CONDUIT_LAB_KEYS or App(keys=[…]); "
        "listen on 127.0.0.1; or pass insecure=True (--insecure)"
    )
