"""The image of an exported app: a build stage for the packages, and the runtime stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.export.deployment.deployment import Deployment

STRIP = "strip --strip-debug {environment}/lib/python3*/site-packages/numkong/*.so"
USER = 10001  # above the range that distributions assign, so it matches no user of the host
_HEALTH = (
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"
)


def dockerfile(deployment: Deployment) -> str:
    """Return the Dockerfile; with a model, the RUNTIME build argument selects CPU or GPU."""
    gpu = deployment.onnxruntime is not None
    usage = [f"# docker build --tag {deployment.label} ."]
    if gpu:
        usage.append(
            f"# docker build --tag {deployment.label} --build-arg RUNTIME=gpu .   "
            "(then: docker run --gpus all)"
        )
    return f"""{chr(10).join(usage)}
FROM python:{deployment.python}{"" if deployment.codes else "-slim"} AS packages
{_ARGUMENT if gpu else ""}WORKDIR /app
COPY requirements.txt ./
COPY lib ./lib
RUN python -m venv /packages \\
    && /packages/bin/pip install --no-cache-dir --no-deps --requirement requirements.txt
{_GPU.format(version=deployment.onnxruntime) if gpu else ""}{_STRIP if deployment.codes else ""}
FROM python:{deployment.python}-slim
RUN useradd --uid {USER} --create-home app
ENV PATH=/packages/bin:$PATH PYTHONUNBUFFERED=1
COPY --from=packages /packages /packages
WORKDIR /app
COPY --chown={USER}:{USER} . .
USER {USER}:{USER}
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \\
    CMD ["python", "-c", "{_HEALTH}"]
# starts only with a key in CONDUIT_LAB_KEYS, or with --insecure appended
CMD ["conduit-lab", "serve", ".", "--host", "0.0.0.0", "--port", "8000", "--log", "json"]
"""


_ARGUMENT = "ARG RUNTIME=cpu\n"
_GPU = """RUN if [ "$RUNTIME" = gpu ]; then \\
      /packages/bin/pip uninstall --yes onnxruntime \\
      && /packages/bin/pip install --no-cache-dir "onnxruntime-gpu[cuda,cudnn]=={version}"; \\
    fi
"""

# 41 of numkong's 45 MB are debug symbols; only the full Python image has binutils
_STRIP = f"RUN {STRIP.format(environment='/packages')}\n"


def dockerignore(deployment: Deployment) -> str:
    """Return the paths to exclude from the image: secrets, tests and other deployment files."""
    return """.env
.git
.venv
**/__pycache__
.dockerignore
Dockerfile
README.md
compose.yaml
examples.jsonl
k8s.yaml
nginx.conf
proof.svg
serve.yaml
serve_app.py
test_replay.py
"""
