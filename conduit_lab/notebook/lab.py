"""Lab: an `App` with notebook powers."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.trace.call_record import Values
from conduit_lab.export.export_result import Export
from conduit_lab.export.writer import export_app
from conduit_lab.notebook import history, views
from conduit_lab.serving.app import App
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.serving.recorded import Example, Recorder
from conduit_lab.serving.run.thread import Server

STREAM_SECONDS = 60.0


class Lab(App):
    """An app to explore with: opens models at once, traces and records calls, serves and exports.

    Works in a notebook and in a script. In a notebook, a `Stream` as a cell's last line is a live
    view. Running a cell again replaces its endpoint.
    """

    records = True
    _lazy = False

    def __init__(self, name: str, *, root: str | Path | None = None, **options: Any) -> None:
        super().__init__(name, root=root, **options)
        self.values = Values()
        self._recorder = Recorder()
        views.register()

    @property
    def examples(self) -> list[Example]:
        """The recorded calls, newest last: one per request, at most 20 and 16 MiB per endpoint."""
        return self._recorder.examples(self.endpoints)

    def remove(self, path: str) -> None:
        """Take back the endpoints at `path`, with their recorded calls.

        Both endpoints of a `Rag` go together. A running server answers 404 from then on. Raises
        `EndpointError` where nothing is served.
        """
        removed = {id(e) for e in self.endpoints if e.path == path}
        for endpoint in self.endpoints:
            if isinstance(endpoint, RagEndpoint) and id(endpoint) in removed:
                removed |= {id(endpoint.whole), id(endpoint.stream)}
        if not removed:
            paths = list(dict.fromkeys(endpoint.path for endpoint in self.endpoints))
            near = difflib.get_close_matches(path, paths, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise EndpointError(
                f"no endpoint at {path!r} to remove: there are {', '.join(paths) or 'none'}{meant}"
            )
        for endpoint in self.endpoints:
            if id(endpoint) in removed:
                self._recorder.forget(endpoint.method, endpoint.path)
        self.endpoints = [e for e in self.endpoints if id(e) not in removed]

    def serve(self, *, host: str = "127.0.0.1", port: int = 8000) -> Server:
        """Serve the app on a background thread and return the running `Server`.

        `port=0` takes a free one. Endpoints that are registered or replaced later are served too.
        Raises `ServeError` for a port in use.
        """
        return Server(self, host=host, port=port)

    def export(self, folder: str | Path, *, replay: bool = True) -> Export:
        """Write the app as a folder that runs by itself, and prove that it answers as it did here.

        Every endpoint must have been called once. The folder is started in a fresh process and
        receives the recorded requests; a different answer is an `ExportError`, and then an older
        export in `folder` stays. Running streams are awaited, 60 s each.
        """
        for stream in self._recorder.running:
            stream.wait(STREAM_SECONDS)
        return export_app(
            self,
            folder,
            examples=self.examples,
            statements=history.cells(),
            namespace=history.namespace(),
            replay=replay,
        )

    def observe(self, endpoint: Endpoint[..., Any], call: Call, result: Any, body: bytes) -> None:
        """Keep the call as an example for the export."""
        self._recorder.add(endpoint, call, result, body)

    def _replaces(self, new: Endpoint[..., Any], old: Endpoint[..., Any]) -> bool:
        """Replace an endpoint by the function of the same name: its cell was run again."""
        if new.name != old.name:
            return False
        self._recorder.forget(old.method, old.path)
        new.inherit(old)
        return True
