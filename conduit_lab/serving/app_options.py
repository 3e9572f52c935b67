"""The options of an app: its limits, protocols, and who may call it; an export reads some again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.protocols import check_protocols
from conduit_lab.serving.gate.hosts import HOSTS_VARIABLE, Hosts
from conduit_lab.serving.gate.keys import Key, given_keys
from conduit_lab.serving.gate.origins import ORIGINS_VARIABLE, Origins
from conduit_lab.serving.limits import Limits, setting
from conduit_lab.serving.trace_sampling import TraceMode, check_trace_mode


class AppOptions(TypedDict, total=False):
    """The options of `App`: its limits, its protocols, and its callers."""

    limits: Limits | None
    protocols: Sequence[str]
    keys: Iterable[Key] | None
    hosts: Sequence[str] | None
    origins: Sequence[str]
    trace: TraceMode | None


def set_options(app: EndpointHost, options: AppOptions, environ: Mapping[str, str]) -> None:
    """Set the options of an app; the environment replaces limits, hosts and origins.

    Keys that are not given are those of the process's environment.
    """
    trace = options.get("trace")
    app.trace = app.default_trace if trace is None else check_trace_mode(trace)
    app.limits = Limits.from_environment(options.get("limits"), environ)
    trace = options.get("trace")
    app.trace = app.default_trace if trace is None else check_trace_mode(trace)
    app.protocols = check_protocols(options.get("protocols", ()))
    app.keys = given_keys(options.get("keys"))
    app.hosts = Hosts(setting(HOSTS_VARIABLE, options.get("hosts"), environ))
    app.origins = Origins(setting(ORIGINS_VARIABLE, options.get("origins"), environ))
