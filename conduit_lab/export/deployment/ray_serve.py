"""Ray Serve: a replicated deployment of the app, and one per remote model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.export.deployment.deployment import Deployment

_REPLICAS = 2
_CONCURRENT_REQUESTS = 64  # per replica
_DRAIN_SECONDS = 20


def serve_app(deployment: Deployment) -> str:
    """Return `serve_app.py`: each replica imports the app and opens its own models."""
    models = json.dumps(dict(deployment.remote), ensure_ascii=False)
    text = _APART if deployment.remote else _WHOLE
    return text.format(label=deployment.label, models=models)


_WHOLE = '''"""{label} on Ray Serve: `serve run serve.yaml` in this folder."""

from ray import serve


def build():
    from app import app

    return app


def application(args):
    """Return the app; `gpus` is the number of GPUs per replica."""
    options = {{"num_cpus": 1, "num_gpus": float(args.get("gpus", 0))}}
    served = serve.deployment(serve.ingress(build)())
    return served.options(name="{label}", ray_actor_options=options).bind()
'''

_APART = '''"""{label} on Ray Serve: `serve run serve.yaml` in this folder."""

from conduit_lab.serving.run.ray_models import hosted, use_deployments
from ray import serve

NAME = "{label}"
# the deployment of each model that was loaded with remote=True
MODELS = {models}


def handle(deployment):
    return serve.get_deployment_handle(deployment, app_name=NAME)


def build():
    from app import app

    use_deployments(app, MODELS, handle)
    return app


@serve.deployment
class RemoteModel:
    def __init__(self, name):
        from app import app

        self.session = hosted(app, name)

    def facts(self):
        return self.session.facts()

    async def run(self, feeds):
        return await self.session.run(feeds)


def application(args):
    """Return the app and its models; `gpus` is the number of GPUs per replica of a model."""
    options = {{"num_cpus": 1, "num_gpus": float(args.get("gpus", 0))}}
    model = RemoteModel.options(ray_actor_options=options)
    models = [model.options(name=name).bind(MODELS[name]) for name in MODELS]
    served = serve.deployment(serve.ingress(build)())
    return served.options(name=NAME, ray_actor_options={{"num_cpus": 1}}).bind(*models)
'''


def serve_config(deployment: Deployment) -> str:
    """Return `serve.yaml`, the deployment configuration."""
    deployments = "".join(
        f"""      - name: {name}
        num_replicas: {_REPLICAS}
        max_ongoing_requests: {_CONCURRENT_REQUESTS}
        graceful_shutdown_timeout_s: {_DRAIN_SECONDS}
"""
        for name in (deployment.label, *deployment.remote)
    )
    of = "of a model" if deployment.remote else "of the app"
    gpus = f"    args:\n      gpus: 0  # of each replica {of}\n" if deployment.onnxruntime else ""
    return f"""# serve run serve.yaml, with `pip install "ray[serve]"` in the app's environment
proxy_location: EveryNode
http_options:
  host: 127.0.0.1
  port: 8000
applications:
  - name: {deployment.label}
    route_prefix: /
    import_path: serve_app:application
{gpus}    deployments:
{deployments}"""
