"""Ray Serve: the app as a deployment with several replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.export.deployment.deployment import Deployment

_REPLICAS = 2
_CONCURRENT_REQUESTS = 64  # per replica
_DRAIN_SECONDS = 20


def serve_app(deployment: Deployment) -> str:
    """Return `serve_app.py`: each replica imports the app itself and opens its own models."""
    return f'''"""{deployment.label} on Ray Serve: `serve run serve.yaml` in this folder."""

from ray import serve


def build():
    from app import app

    return app


served = serve.deployment(serve.ingress(build)())
deployment = served.options(name="{deployment.label}").bind()
'''


def serve_config(deployment: Deployment) -> str:
    """Return `serve.yaml`, the configuration of the deployment."""
    return f"""# serve run serve.yaml, with `pip install "ray[serve]"` in the environment of the app
proxy_location: EveryNode
http_options:
  host: 127.0.0.1
  port: 8000
applications:
  - name: {deployment.label}
    route_prefix: /
    import_path: serve_app:deployment
    deployments:
      - name: {deployment.label}
        num_replicas: {_REPLICAS}
        max_ongoing_requests: {_CONCURRENT_REQUESTS}
        graceful_shutdown_timeout_s: {_DRAIN_SECONDS}
        ray_actor_options:
          num_cpus: 1
"""
