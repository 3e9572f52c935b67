"""Lab: an `App` with notebook powers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.export.example import Example
from conduit_lab.export.writer import Export, export_app
from conduit_lab.notebook import history, views
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Call, Endpoint
from conduit_lab.serving.run.thread import Server

STREAM_SECONDS = 60.0
EXAMPLES = 20  # of each endpoint, the newest: a lab that serves for days must not grow
EXAMPLE_BYTES = 16 * 2**20  # of each endpoint, as JSON; the newest is kept whatever its size


class Lab(App):
    """An app to explore with: models open at once, calls are traced and recorded, and it serves and
    exports itself.

    Works in a notebook and in a script. In a notebook, a `Stream` as a cell's last line is a live
    view. Running a cell again replaces its endpoint.
    """

    _lazy = False

    def __init__(self, name: str, *, root: str | Path | None = None, **options: Any) -> None:
        super().__init__(name, root=root, **options)
        self.values = recorder.Values()
        self._examples: list[Example] = []
        self._streaming: list[tuple[Endpoint, Call, Stream[Any]]] = []
        self._recording = threading.Lock()
        views.register()

    @property
    def examples(self) -> list[Example]:
        """The recorded calls, newest last: one per request, at most 20 and 16 MiB per endpoint."""
        with self._recording:
            self._settle()
            return list(self._examples)

    def serve(self, *, host: str = "127.0.0.1", port: int = 8000) -> Server:
        """Serve the app on a background thread and return the running `Server`; `port=0` takes a
        free one.

        Endpoints that are registered or replaced later are served too. Raises `ServeError` for a
        port in use.
        """
        return Server(self, host=host, port=port)

    def export(self, folder: str | Path, *, replay: bool = True) -> Export:
        """Write the app as a folder that runs by itself, and prove that it answers as it did here.

        Every endpoint must have been called once. The folder is started in a fresh process and
        asked what was asked here; a different answer is an `ExportError`, and then an older export
        in `folder` is left as it was. Streams that still run are waited for, 60 s each.
        """
        for _, _, stream in list(self._streaming):
            stream.wait(STREAM_SECONDS)
        return export_app(
            self, folder, examples=self.examples, statements=history.cells(), replay=replay
        )

    def observe(self, endpoint: Endpoint, call: Call, result: Any) -> None:
        """Keep the call's trace, and the call as an example for the export."""
        endpoint.trace = call.trace
        with self._recording:
            self._settle()
            if isinstance(result, Stream):
                self._streaming.append((endpoint, call, result))
            else:
                self._keep(endpoint, call, result)

    def _settle(self) -> None:
        """Keep the streams that have ended."""
        ended = [entry for entry in self._streaming if entry[2].finished]
        self._streaming = [entry for entry in self._streaming if entry not in ended]
        for entry in ended:
            self._keep(*entry)

    def _keep(self, endpoint: Endpoint, call: Call, result: Any) -> None:
        example = Example.of(endpoint, call, result)
        if example is None or endpoint not in self.endpoints:
            return
        others = [known for known in self._examples if known.request != example.request]
        same = [
            known
            for known in others
            if (known.method, known.path) == (endpoint.method, endpoint.path)
        ]
        size = example.size + sum(known.size for known in same)
        while same and (len(same) >= EXAMPLES or size > EXAMPLE_BYTES):
            oldest = same.pop(0)
            size -= oldest.size
            others = [known for known in others if known is not oldest]
        self._examples = [*others, example]

    def _replaces(self, new: Endpoint, old: Endpoint) -> bool:
        """Replace an endpoint by the function of the same name: its cell was run again."""
        if new.name != old.name:
            return False
        self._examples = [e for e in self._examples if (e.method, e.path) != (old.method, old.path)]
        return True
