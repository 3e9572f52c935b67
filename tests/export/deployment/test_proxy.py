"""An export behind nginx, with the `nginx.conf` of the export."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from conduit_lab.export.clean_world import running
from tests.export.session import Session

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path(NGINX).is_file(), reason="nginx is not installed"),
]


def test_the_proxy_passes_answers_and_streams_and_bounds_slow_clients(
    session: Session, tmp_path: Path
) -> None:
    session.run(
        """
        @lab.post("/double")
        def double(x: float) -> float:
            return 2 * x

        @lab.ml_stream("/count")
        async def count(n: int):
            import asyncio
            for number in range(n):
                yield {"number": number}
                await asyncio.sleep(0.05)
        """,
        "double(1.0)",
        "count(1).wait()",
    )
    folder = session.export().folder
    with running(folder) as app, _proxy(folder, tmp_path, app) as port:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url) as client:
            assert client.post("/double", json={"x": 2.0}).json() == 4.0
            assert client.get("/metrics").status_code == 403
            assert client.post("/double", content=b" " * 2**25).status_code == 413
            with client.stream("POST", "/count", json={"n": 10_000}) as response:  # not buffered
                lines = (line for line in response.iter_lines() if line.startswith("data: "))
                assert [next(lines) for _ in range(3)] == [
                    f'data: {{"number":{number}}}' for number in range(3)
                ]

            slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for each in slow:
                each.sendall(b"POST /double HTTP/1.1\r\nHost: a\r\nContent-Le")
            assert client.post("/double", json={"x": 3.0}).json() == 6.0
            for each in slow:
                each.settimeout(30)
                with pytest.raises(ConnectionResetError):  # at the deadline of a head, 10 s
                    each.recv(1)
                each.close()


@contextmanager
def _proxy(folder: Path, place: Path, app: int) -> Iterator[int]:
    """Run nginx with the export's configuration on free ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    text = (folder / "nginx.conf").read_text()
    text = text.replace("server app:8000;", f"server 127.0.0.1:{app};")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    text = text.replace("/tmp/nginx.pid", str(place / "nginx.pid"))
    config = place / "nginx.conf"
    config.write_text("daemon off;\nmaster_process off;\nerror_log stderr;\n" + text)
    temporary = [f"{kind}_temp_path {place};" for kind in ("client_body", "proxy", "fastcgi")]
    temporary += [f"{kind}_temp_path {place};" for kind in ("uwsgi", "scgi")]
    config.write_text(config.read_text().replace("http {", "http {\n" + "\n".join(temporary)))
    process = subprocess.Popen([NGINX, "-p", str(place), "-c", str(config)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()
