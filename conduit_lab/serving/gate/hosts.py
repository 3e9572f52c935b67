"""Hosts: the host names that a served app answers to, against DNS rebinding."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.text import clip
from conduit_lab.serving.errors import HttpError

HOSTS_VARIABLE = "CONDUIT_LAB_HOSTS"

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\*")
_MAX_REMEMBERED = 256
_MAX_SHOWN_CHARACTERS = 80


class Hosts:
    """Validates the Host header.

    An attacker can make their own host name resolve to this machine, but the browser still sends
    that name in the Host header. So IP addresses and `localhost` always pass, and any other name
    must be in `names`; "*.example.org" matches every subdomain, "*" every name. Without `names`
    every name passes, except on connections to a loopback address.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = None if names is None else tuple(each.lower() for each in names)
        for name in self.names or ():
            if not _NAME.fullmatch(name) and not is_address(name):
                raise EndpointError(
                    "hosts= expects names such as 'app.example.org', without scheme, port or "
                    f"path, got {name!r}"
                )
        self.passed: set[bytes | None] = {None}  # raw Host headers; browsers always send one

    def check(self, host: bytes | None, local: str | None) -> None:
        """Raise 421 for a Host header of another site; `local` is the server's address."""
        if host is None or host in self.passed:
            return
        name = host_name(host)
        if not self._is_own(name):
            if self.names is None and not is_loopback(local):
                return
            shown = clip(name, _MAX_SHOWN_CHARACTERS)
            raise HttpError(
                421,
                "unknown_host",
                f"this app does not answer for the host {shown!r}: allow it with "
                f"App(hosts=[…]) or {HOSTS_VARIABLE}",
            )
        if len(self.passed) < _MAX_REMEMBERED:
            self.passed.add(host)

    def _is_own(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or is_address(name):
            return True
        names = self.names or ()
        return "*" in names or any(_matches(name, each) for each in names)


def host_name(host: bytes) -> str:
    """Return the host name in a Host header, lowercased, without the port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def is_address(name: str) -> bool:
    """Return whether a name is an IP address, which DNS rebinding cannot forge."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str | None) -> bool:
    """Return whether a host is a loopback address."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool(address.is_loopback or (mapped is not None and mapped.is_loopback))


def _matches(name: str, allowed: str) -> bool:
    return name == allowed or (allowed.startswith("*.") and name.endswith(allowed[1:]))
