"""Lab: an `App` with notebook features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from weakref import WeakValueDictionary

from conduit_lab.core.errors import EndpointError, ExportError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.paths import find_root, resolve
from conduit_lab.core.progress import is_silenced, progress
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.views import figures
from conduit_lab.notebook import cell_streams, history, views
from conduit_lab.serving.app import App
from conduit_lab.serving.call import Call
from conduit_lab.serving.call_code import call_code, code_name
from conduit_lab.serving.endpoint import Endpoint, Proof
from conduit_lab.serving.endpoints import Endpoints
from conduit_lab.serving.examples import Examples
from conduit_lab.serving.rag_endpoint import RagEndpoint
from conduit_lab.serving.recorded import Recorder
from conduit_lab.serving.running import Streams
from conduit_lab.serving.tool import Tool

if TYPE_CHECKING:
    from conduit_lab.export.cell_run import CellRun
    from conduit_lab.export.export_plan import ExportPlan
    from conduit_lab.export.export_result import Export
    from conduit_lab.export.part import Selection
    from conduit_lab.export.proof import ProofKind
    from conduit_lab.export.quantized import OptimizeKind
    from conduit_lab.notebook.opened_app import OpenedApp
    from conduit_lab.serving.glance import Glance
    from conduit_lab.serving.recorded import Example
    from conduit_lab.serving.resource import AppResource
    from conduit_lab.serving.run.thread import Server

STREAM_SECONDS = 60.0

_NOTE = "call once, to export:"

_Key = tuple[type[App], str, Path]
_labs: WeakValueDictionary[_Key, Lab] = WeakValueDictionary()  # labs of this session


class Lab(App):
    """An app for interactive work: opens models immediately, records calls, serves and exports.

    Works in notebooks and scripts. In a notebook, a `Stream` on a cell's last line is a live view.
    Running a cell again replaces its endpoint, and `Lab(name)` returns the existing lab of that
    name and root, so its endpoints and servers keep running.
    """

    records = True
    _lazy = False
    _session_tools: Sequence[Tool[..., Any]] = ()
    default_trace = "always"
    opened: OpenedApp | None = None  # the export that it was opened from

    def __new__(cls, name: str, *, root: str | Path | None = None, **options: Any) -> Self:
        """Return the session's lab of this name and root, or a new one; scripts get a new one."""
        known = _labs.get((cls, name, _root(root))) if history.namespace() is not None else None
        return super().__new__(cls) if known is None else known  # type: ignore[return-value]

    def __init__(self, name: str, *, root: str | Path | None = None, **options: Any) -> None:
        if self in _labs.values():
            self._set_options(**options)
            self._say_adopted()
            return
        super().__init__(name, root=root, **options)
        if self.opened is not None:
            self._store_root = self.opened.stores
        self.values = Values()
        self._recorder = Recorder()
        self.resources.on_built = self._record_inputs
        views.register()
        history.record_cells()
        _labs[type(self), name, self.root] = self

    def _record_inputs(self, resource: AppResource[Any]) -> None:
        """Record the inputs of a resource, for the proof of an export."""
        from conduit_lab.export.state.built_resources import inputs_of

        resource.inputs = inputs_of(resource, self.root)

    @classmethod
    def open(cls, folder: str | Path, *, names: dict[str, Any] | None = None) -> Self:
        """Load an exported app into the session: models, stores, endpoints and examples.

        Its `app.py` runs like a cell: in a notebook it defines the notebook's names, in a script
        those of a separate module, unless `names` such as `globals()` are given. A later `export`
        writes the app with the session's changes. The folder itself is not changed: its stores are
        copied, and the copies last as long as the lab. A relative `folder` is resolved like the
        paths of `load_model`. Raises `ExportError` for a folder that is not a complete export, that
        a newer version wrote, or whose `app.py` fails.
        """
        from conduit_lab.notebook.opened_app import OpenedApp

        return cast("Self", OpenedApp(resolve(folder).resolve(), names).run(cls))

    @property
    def examples(self) -> Examples:
        """The recorded calls of this session, newest last, excluding requests over HTTP.

        One per distinct request, at most 20 and 16 MiB per endpoint.
        """
        return Examples(self._recorder.examples(self.endpoints))

    @property
    def streams(self) -> Streams:
        """The running streams, oldest first: those of endpoints, and those shown in outputs."""
        shown = cell_streams.shown_streams()
        return Streams([*self._recorder.running, *self.open_streams, *shown])

    def remove(self, path: str) -> None:
        """Unregister the endpoints at `path`, and drop their recorded calls.

        Both endpoints of a `Rag` are removed together. A running server returns 404 from then on.
        Raises `EndpointError` if nothing is served there.
        """
        removed = {id(e) for e in self.endpoints if e.path == path}
        for endpoint in self.endpoints:
            if isinstance(endpoint, RagEndpoint) and id(endpoint) in removed:
                removed |= {id(endpoint.whole), id(endpoint.stream)}
        if not removed:
            paths = list(dict.fromkeys(endpoint.path for endpoint in self.endpoints))
            raise EndpointError(
                f"no endpoint at {path!r} to remove: there are {', '.join(paths) or 'none'}"
                f"{did_you_mean(path, paths)}"
            )
        for endpoint in self.endpoints:
            if id(endpoint) in removed:
                self._recorder.forget(endpoint.method, endpoint.path)
        self.endpoints = Endpoints(e for e in self.endpoints if id(e) not in removed)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        mcp: bool = False,
        insecure: bool = False,
    ) -> Server:
        """Serve the app on a background thread and return the running `Server`.

        `port=0` picks a free port. Endpoints registered or replaced later are served too. With
        `mcp`, an agent may pair with this session at `/mcp`: besides the endpoints, it has tools
        that show the session's objects and traces. Raises `ServeError` if the port is in use, or
        for a `host` that others can reach if the lab has no keys, unless `insecure`.
        """
        from conduit_lab.serving.run.thread import Server

        if mcp and not self._session_tools:
            from conduit_lab.notebook.agent import session_tools

            self._session_tools = session_tools(self)
            self._gate = None  # rebuilt, with the protocol's route
        return Server(self, host=host, port=port, insecure=insecure)

    @property
    def spoken(self) -> Sequence[str]:
        """The protocols served by its servers."""
        spoken = super().spoken
        return [*spoken, "mcp"] if self._session_tools and "mcp" not in spoken else spoken

    def session_tools(self) -> Sequence[Endpoint[..., Any]]:
        """Return the tools with which a paired agent reads the session."""
        return self._session_tools

    def export(
        self,
        folder: str | Path,
        *,
        endpoints: Selection | None = None,
        proof: ProofKind | None = "process",
        optimize: OptimizeKind | None = None,
        target: Literal["app", "web"] = "app",
        runtime: str | Path | None = None,
    ) -> Export:
        """Write the app as a self-contained folder, and prove that its answers match.

        Every endpoint must have been called once. The folder is started in a fresh process and
        receives the recorded requests; a different answer raises `ExportError`, and an older export
        in `folder` is not replaced. With `proof="venv"` it runs in a new environment with its
        requirements, with None not at all. `endpoints`, paths or decorated functions, restricts the
        export to these and their dependencies. With `optimize="int8"` the exported models are in
        int8 if the proof finds their answers close enough. Running streams are awaited, 60 s each.

        With `target="web"` the folder is a static page whose models run in the browser on
        onnxruntime-web; it is proved in headless Chromium. `runtime` is then a folder of that npm
        package, which npm downloads once by default. An endpoint that cannot run there raises
        `ExportError` with the reason.
        """
        if target not in ("app", "web"):
            raise ExportError(f'target= expected "app" or "web", got {target!r}')
        if self.opened is not None:
            folder = resolve(folder, self.opened.base)
        if target == "web":
            if optimize is not None:
                raise ExportError("a page uses its models unchanged: remove optimize=")
            from conduit_lab.export.web.web_writer import export_web

            return export_web(
                self,
                folder,
                examples=self.examples,
                endpoints=endpoints,
                proof=proof,
                runtime=runtime,
            )
        from conduit_lab.export.writer import export_app

        cells, names = self._session()
        if running := self._recorder.running:
            with progress(len(running), "stream", "export: waiting for running streams") as job:
                for stream in running:
                    stream.wait(STREAM_SECONDS)
                    job.step()
        return export_app(
            self,
            folder,
            examples=self.examples,
            statements=cells,
            namespace=names,
            endpoints=endpoints,
            proof=proof,
            optimize=optimize,
        )

    def export_plan(self, endpoints: Selection | None = None) -> ExportPlan:
        """Plan an export: each object that it would write or refuse; writes nothing.

        `endpoints`, paths or decorated functions, restricts the plan to these.
        """
        from conduit_lab.export.export_plan import plan_app

        cells, names = self._session()
        return plan_app(
            self,
            examples=self.examples,
            statements=cells,
            namespace=names,
            endpoints=endpoints,
        )

    def _session(self) -> tuple[list[CellRun] | None, dict[str, Any] | None]:
        """Return the cells and names of the session; in a script, those of the opened app."""
        cells, names = history.cells(), history.namespace()
        if cells is None and self.opened is not None:
            return self.opened.cells, self.opened.names
        return cells, names

    def restore_call(
        self, endpoint: Endpoint[..., Any], line: str, example: Callable[[], Example]
    ) -> None:
        """Retain a call of an opened export, from its line of `examples.jsonl`."""
        self._recorder.restore(endpoint, line, example)

    def observe(self, endpoint: Endpoint[..., Any], call: Call, result: Any, body: bytes) -> None:
        """Retain a call of the session as an example for the export.

        Calls by clients are not recorded, as they would displace the author's own.
        """
        if not is_silenced():
            self._recorder.add(endpoint, call, result, body)

    def proof(self, endpoint: Endpoint[..., Any]) -> Proof:
        """Return whether an export has, or will have, a call of `endpoint` to replay."""
        return self._recorder.proof(endpoint)

    def glance(self) -> Glance:
        """Return the current state of the session, with the calls that an export still needs."""
        from conduit_lab.serving.glance import MAX_MISSING_CALLS, Glance

        proofs = {id(each): self.proof(each) for each in self.endpoints}
        missing = [each for each in self.endpoints if proofs[id(each)] == "missing"]
        ready = list(proofs.values()).count("ready")
        if not proofs:
            return Glance.of(self)
        of = figures.plural(len(proofs), "endpoint")
        if ready == len(proofs):
            code = f'{self._own_name()}.export("{self.name}")'
            return Glance.of(self, [code], "to export:", f"{ready} of {of} ready for an export")
        names = self._names()
        lines = [call_code(each, names[id(each)]) for each in missing[:MAX_MISSING_CALLS]]
        more = len(missing) - len(lines)
        note = f"call once, to export (and {figures.count(more)} more):" if more else _NOTE
        return Glance.of(self, lines, note, f"{ready} of {of} ready for an export")

    def _own_name(self) -> str:
        names = history.namespace() or {}
        return next((n for n, value in names.items() if value is self and n[:1] != "_"), "lab")

    def _names(self) -> dict[int, str]:
        """Return the code that names each endpoint in the session."""
        names = history.namespace()
        held = {id(value): name for name, value in (names or {}).items() if name[:1] != "_"}
        own = self._own_name()
        found: dict[int, str] = {}
        for each in self.endpoints:
            whole = each.whole if isinstance(each, RagEndpoint) else each
            code = f'{own}.endpoints["{whole.path}"]'
            if names is None:
                code = code_name(whole)
            name = held.get(id(each)) or held.get(id(whole), code)
            beside = id(each) not in held and whole is not each
            found[id(each)] = f"{name}.stream" if beside else name
        return found

    def _say_adopted(self) -> None:
        parts = [(self.endpoints, "endpoint"), (self.models, "model"), (self.stores, "store")]
        counts = [figures.plural(len(part), noun) for part, noun in parts if len(part)]
        if counts:
            from conduit_lab.core.views.pieces import Line

            listed = " and ".join(filter(None, [", ".join(counts[:-1]), counts[-1]]))
            line = f"Lab {self.name!r} still has {listed}; lab.remove(path) removes an endpoint"
            history.publish(Line(line, "quiet"))

    def _replaces(self, new: Endpoint[..., Any], old: Endpoint[..., Any]) -> bool:
        """Replace an endpoint with the function of the same name when its cell runs again."""
        if new.name != old.name:
            return False
        self._recorder.forget(old.method, old.path)
        new.inherit(old)
        return True


def _root(root: str | Path | None) -> Path:
    return find_root() if root is None else Path(root).resolve()
