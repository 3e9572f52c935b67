"""The deployment files of an export, with the function that renders each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conduit_lab.export.deployment import compose, container, kubernetes, ray_serve
from conduit_lab.export.deployment.deployment import Deployment

FILES: Mapping[str, Callable[[Deployment], str]] = {
    "Dockerfile": container.dockerfile,
    ".dockerignore": container.dockerignore,
    "compose.yaml": compose.compose,
    "nginx.conf": compose.nginx,
    "k8s.yaml": kubernetes.manifests,
    "serve_app.py": ray_serve.serve_app,
    "serve.yaml": ray_serve.serve_config,
}


def deployment_files(deployment: Deployment) -> dict[str, str]:
    """Return the text of each file by name."""
    return {name: text(deployment) for name, text in FILES.items()}
