"""A fake Qdrant server: the client's local mode behind the REST API that a store uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models


class QdrantServer(ThreadingHTTPServer):
    """Serves on a local port; `asked` records each request's method, path, headers and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = QdrantClient(":memory:")
        self.lock = threading.Lock()
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.refuse: tuple[int, str] | None = None
        self.refused = ""  # suffixes of the paths that it rejects

    @property
    def url(self) -> str:
        return f"qdrant://127.0.0.1:{self.server_port}"

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Return the `result` of one request."""
        _, name, *rest = path.strip("/").split("/")
        call = (method, "/".join(rest))
        match call:
            case "GET", "exists":
                return {"exists": self.engine.collection_exists(name)}
            case "GET", "":
                return self.engine.get_collection(name)
            case "PUT", "":
                return self.engine.create_collection(name, models.VectorParams(**body["vectors"]))
            case "PUT", "index":
                if isinstance(body["field_schema"], dict):
                    schema = models.TextIndexParams(**body["field_schema"])
                    self.engine.create_payload_index(name, body["field_name"], schema)
                return {"status": "completed"}
            case "PUT", "points":
                return self.engine.upsert(
                    name, [models.PointStruct(**point) for point in body["points"]]
                )
            case "POST", "points":
                return self.engine.retrieve(
                    name, body["ids"], body["with_payload"], body["with_vector"]
                )
            case "POST", "points/batch":
                changes = [models.SetPayloadOperation(**change) for change in body["operations"]]
                return self.engine.batch_update_points(name, changes)
            case "POST", "points/delete":
                return self.engine.delete(name, models.PointIdsList(points=body["points"]))
            case "POST", "points/count":
                return self.engine.count(name, _filter(body))
            case "POST", "points/scroll":
                points, following = self.engine.scroll(
                    name,
                    _filter(body),
                    body["limit"],
                    offset=body.get("offset"),
                    with_payload=body["with_payload"],
                )
                return {"points": points, "next_page_offset": following}
            case "POST", "points/query":
                query = body["query"]
                return self.engine.query_points(
                    name,
                    models.TextQuery(**query) if "text" in query else query["nearest"],
                    using=body.get("using"),
                    query_filter=_filter(body),
                    limit=body["limit"],
                    with_payload=body["with_payload"],
                    with_vectors=body.get("with_vector") or False,
                )
        raise LookupError(f"no such call {call}")


class _Handler(BaseHTTPRequestHandler):
    server: QdrantServer

    def _do(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
        path = urlsplit(self.path).path
        with self.server.lock:
            self.server.asked.append((self.command, path, dict(self.headers), body))
            if self.server.refuse and path.endswith(self.server.refused):
                status, text = self.server.refuse
                self._send(status, {"status": {"error": text}})
            else:
                self._send(
                    200,
                    {
                        "result": self.server.answer(self.command, path, body),
                        "status": "ok",
                        "time": 0.0,
                    },
                )

    do_GET = do_PUT = do_POST = _do

    def _send(self, status: int, answer: Any) -> None:
        text = json.dumps(
            answer, default=lambda model: model.model_dump(mode="json", exclude_unset=True)
        ).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _filter(body: Any) -> models.Filter | None:
    return models.Filter(**body["filter"]) if body.get("filter") else None


@contextmanager
def qdrant_server() -> Iterator[QdrantServer]:
    """Run a server until the end of the block."""
    server = QdrantServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.engine.close()
