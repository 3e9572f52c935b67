"""Hub: the single channel between the live views of a session and the pages that show them.

A notebook's outputs never contain a widget. The hub's widget is the only one and is never
displayed; it carries the messages of all views, so a page needs one message per tick regardless of
the number of views. The kernel sends

    {"views": {key: [message, ...], ...}}

and a page sends `{"page": id, "open": [key, ...]}` when it starts to listen, with the keys in its
notebook, and `{"to": key, "message": {...}}`. A message `{"end": bundle}` ends a view: the page
writes the static bundle into its own notebook, which also works after a reload, when it no longer
receives the kernel's display updates. `{"static": packed}` does the same while the view stays; it
contains the bundle as gzipped JSON in base64, a tenth of its size.
"""

from __future__ import annotations

import json
import logging
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from gzip import compress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import anywidget

from conduit_lab.serving.faces.docs import form_style

# a page renders 60 frames/s, and the Jupyter server drops above 1,000 messages/s
FLUSH_SECONDS = 0.025
IDLE_TICK_SECONDS = 0.5  # between two checks of views that only respond to the page
MAX_ENDED = 64  # ended views retained for pages that open later
MAX_ENDED_BYTES = 8 * 2**20

_VIEWS = Path(__file__).parent / "views"
_log = logging.getLogger(__name__)


class HubView(Protocol):
    """The hub's interface to a view; implemented by `Mount`."""

    key: str

    def tick(self, watched: bool) -> bool:
        """Send due updates, to the hub's pages if `watched`; return False at the end."""

    @property
    def running(self) -> bool:
        """Whether the view sends updates on its own, rather than only responding."""

    def opened(self) -> None:
        """Send everything again, because a page has started to listen."""

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from a page, on any thread."""


class HubWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget has no types
    """The model behind the hub's page side."""


class Hub:
    """Ticks the views of a session and carries their messages.

    `connect` opens the channel: it takes the handler of a page's messages and returns a function
    that sends one. One thread ticks all views, every 25 ms while any of them is running; it exits
    when there are no views. Thread-safe.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[dict[str, Any]], None]], Callable[[dict[str, Any]], object]],
        period: float = FLUSH_SECONDS,
    ) -> None:
        self.pages: set[str] = set()
        self._connect = connect
        self._period = period
        self._lock = threading.Lock()  # guards the views, the ended ones and the thread
        self._views: dict[str, HubView] = {}
        self._ended: OrderedDict[str, tuple[dict[str, Any], int]] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._wakeup = threading.Event()
        self._sender: Callable[[dict[str, Any]], object] | None = None
        self._outbox: dict[str, list[dict[str, Any]]] = {}  # used only by the ticking thread

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None

    @property
    def views(self) -> list[HubView]:
        """The views that have not ended, oldest first."""
        with self._lock:
            return list(self._views.values())

    def add(self, view: HubView) -> None:
        """Keep `view` up to date from now on."""
        if self._sender is None:
            self._sender = self._connect(self.receive)
        with self._lock:
            self._views[view.key] = view
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="conduit_lab hub", daemon=True
                )
                self._thread.start()
        self._wakeup.set()

    def remove(self, view: HubView) -> None:
        """Remove a view; idempotent."""
        with self._lock:
            self._views.pop(view.key, None)
        self._wakeup.set()

    def send(self, key: str, message: dict[str, Any]) -> None:
        """Send a view's message: batched with others during a tick, otherwise immediately."""
        if threading.current_thread() is self._thread:
            self._outbox.setdefault(key, []).append(message)
        elif self._sender is not None:
            self._sender({"views": {key: [message]}})
            self._wakeup.set()  # the reply may come from a value that runs again

    def end(self, key: str, bundle: dict[str, Any]) -> None:
        """Send the static bundle that replaces a view, and retain it for pages that open later."""
        size = sum(len(value) for value in bundle.values() if isinstance(value, str))
        with self._lock:
            self._ended[key] = (bundle, size)
            while len(self._ended) > 1 and (
                len(self._ended) > MAX_ENDED
                or sum(kept for _, kept in self._ended.values()) > MAX_ENDED_BYTES
            ):
                self._ended.popitem(last=False)
        self.send(key, {"end": bundle})

    def refresh(self, key: str, bundle: dict[str, Any]) -> None:
        """Send the static bundle of a view that stays, for the notebook of each page."""
        packed = b64encode(compress(json.dumps(bundle).encode()))
        self.send(key, {"static": packed.decode()})

    def receive(self, content: dict[str, Any]) -> None:
        """Handle a message from a page, on any thread."""
        if "open" in content:
            self._open(str(content.get("page")), content["open"])
            return
        with self._lock:
            view = self._views.get(str(content.get("to")))
        if view is not None:
            view.receive(content.get("message") or {})
            self._wakeup.set()

    def _open(self, page: str, keys: Iterable[str]) -> None:
        self.pages.add(page)
        for view in self.views:
            view.opened()
        with self._lock:
            ended = [(key, *self._ended[key][:1]) for key in keys if key in self._ended]
        for key, bundle in ended:
            self.send(key, {"end": bundle})
        self._wakeup.set()

    def _run(self) -> None:
        while views := self._current():
            started = monotonic()
            for view in views:
                if not self._tick(view):
                    self.remove(view)
            outbox, self._outbox = self._outbox, {}
            if outbox and self._sender is not None:
                self._sender({"views": outbox})
            if any(view.running for view in views):
                sleep(max(0.0, self._period - (monotonic() - started)))
            else:
                self._wakeup.wait(IDLE_TICK_SECONDS)
                self._wakeup.clear()

    def _current(self) -> list[HubView]:
        """Return the views; if there are none, end the thread under the lock that `add` takes."""
        with self._lock:
            if not self._views:
                self._thread = None
            return list(self._views.values())

    def _tick(self, view: HubView) -> bool:
        try:
            return view.tick(bool(self.pages))
        except Exception:  # a chunk's repr may raise, and other views must continue
            _log.exception("a live view could not be updated and was removed")
            return False


def connect_widget(
    receive: Callable[[dict[str, Any]], None],
) -> Callable[[dict[str, Any]], object]:
    """Open the session's widget, which is never displayed, and return its send function."""
    kind = type("HubWidget", (HubWidget,), {"_esm": joined_script(), "_css": joined_style()})
    widget = kind()
    widget.on_msg(lambda _widget, content, _buffers: receive(content))
    _answer_while_busy(widget.comm)
    send: Callable[[dict[str, Any]], object] = widget.send
    return send


def rooms() -> list[Path]:
    """Return the folders of the views' page sides, in a stable order."""
    return sorted(script.parent for script in _VIEWS.glob("*/view.js"))


def joined_script(*, default: bool = True) -> str:
    """Return `shared.js`, then each view's class as `VIEWS[noun]`, then the hub's script.

    Without `default`, the hub's script and its default export are left out.
    """
    shared = _read(_VIEWS / "shared.js").replace("\nexport ", "\n")
    views = "\n".join(
        f"VIEWS[{room.name!r}] = (() => {{\n{_as_function(room)}\n}})();" for room in rooms()
    )
    hub = _read(_VIEWS / "hub.js") if default else ""
    return f"{shared}\nconst VIEWS = {{}};\n{views}\n{hub}"


def _as_function(room: Path) -> str:
    """Return a view's script as the body of a function that returns its class.

    Each import must be a statement on its own lines. It may import `../shared.js`, a helper file,
    which is inlined once before its first importer, or the class of a view whose folder sorts
    earlier.
    """
    return _joined(room / "view.js", set()).replace("\nexport default ", "\nreturn ")


def _joined(script: Path, seen: set[Path]) -> str:
    body: list[str] = []
    statement = ""
    for line in _read(script).splitlines():
        statement += line
        if not statement.startswith("import "):
            body.append(statement if "export default" in statement else _unexported(statement))
        elif not statement.endswith(";"):
            continue
        else:
            body.append(_imported(script.parent, statement, seen))
        statement = ""
    return "\n".join(body)


def _imported(room: Path, statement: str, seen: set[Path]) -> str:
    """Return the code that replaces an import."""
    names, _, path = statement.removeprefix("import ").partition(' from "')
    path = path.removesuffix('";')
    file = (room / path).resolve()
    if path == "../shared.js" or file in seen:
        return ""
    if path.startswith("../") and not path.startswith("../../"):  # another view
        return f"const {names} = VIEWS[{path.split('/')[1]!r}];"
    seen.add(file)
    return _joined(file, seen)


def _unexported(statement: str) -> str:
    return statement.removeprefix("export ")


def joined_style() -> str:
    """Return the shared style and that of every view."""
    files = [_VIEWS / "shared.css", *(room / "view.css" for room in rooms())]
    return "\n".join([form_style(), *map(_read, files)])


def _read(file: Path) -> str:
    return file.read_text("utf-8")


def _answer_while_busy(comm: Any) -> None:
    """Handle the page's messages even while a cell blocks.

    Unless this private hook is disabled, ipykernel 7.4 sends them to the thread that last sent on
    the comm, here the one that runs cells; with it disabled, the front end uses a separate thread.
    """
    with suppress(AttributeError):
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None
