"""Compose: the app's container behind nginx, which enforces limits that an ASGI server lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_lab.export.deployment.deployment import Deployment

_CONNECTIONS_PER_ADDRESS = 100
_HEARTBEATS = 4  # a stream sends a heartbeat every 15 seconds


def compose(deployment: Deployment) -> str:
    """Return `compose.yaml`: the app, and the proxy that publishes it on localhost."""
    volume = "    volumes:\n      - indexes:/app/indexes\n" if deployment.stores else ""
    volumes = "\nvolumes:\n  indexes:\n" if deployment.stores else ""
    gpu = deployment.onnxruntime is not None
    usage = "# GPU=1 docker compose up --build: the same on NVIDIA's GPUs\n" if gpu else ""
    return f"""# docker compose up --build: the app behind nginx, on http://127.0.0.1:8080
{usage}# The app's environment, with its keys, is the file .env: see README.md.
services:
  app:
{_GPU if gpu else _CPU}    env_file: .env
    init: true
    read_only: true
    tmpfs:
      - /tmp
{volume}    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
    stop_grace_period: 20s
    restart: unless-stopped
  proxy:
    image: nginx:1.28-alpine
    ports:
      - 127.0.0.1:8080:8080
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
    depends_on:
      app:
        condition: service_healthy
    restart: unless-stopped
{volumes}"""


_CPU = "    build: .\n"
_GPU = """\
    build:
      context: .
      args:
        RUNTIME: ${GPU:+gpu}
    runtime: ${GPU:+nvidia}
    environment:
      NVIDIA_VISIBLE_DEVICES: ${GPU:+all}
      NVIDIA_DRIVER_CAPABILITIES: ${GPU:+compute,utility}
"""


def nginx(deployment: Deployment) -> str:
    """Return `nginx.conf`: timeouts, size limits, and connections per address.

    nginx forwards only complete requests, so a slow client occupies a proxy buffer instead of a
    slot in the app.
    """
    return f"""# The limits of the app, set before a request reaches it (nginx.org/en/docs)
worker_processes auto;
pid /tmp/nginx.pid;

events {{
    worker_connections 4096;
}}

http {{
    access_log off;
    server_tokens off;

    # slow or stalled clients
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 30s;
    keepalive_timeout 30s;
    reset_timedout_connection on;

    # sizes
    large_client_header_buffers 8 {max(deployment.header_bytes // 8, 1024)};
    client_max_body_size {deployment.body_bytes};

    # connections per address
    limit_conn_zone $binary_remote_addr zone=addresses:10m;
    limit_conn addresses {_CONNECTIONS_PER_ADDRESS};
    limit_conn_status 429;

    upstream app {{
        server app:8000;
        keepalive 32;
    }}

    server {{
        listen 8080;

        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            # {_HEARTBEATS} heartbeats of a stream; the app marks streaming responses
            proxy_read_timeout {_HEARTBEATS * 15}s;
        }}

        # for operators only
        location = /metrics {{
            deny all;
        }}
    }}
}}
"""
