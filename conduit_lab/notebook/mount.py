"""Mount: open, update, freeze and release the live view of a value in a cell's output.

Every output is always static `text/html`, so a notebook saved at any time reads the same without a
kernel. It is kept up to date in one of three ways:

- In a page of JupyterLab the session's hub (`hub.py`) puts a live view in the output's place. It
  is an element of the page only; at the end the page writes the final form into its notebook.
- A front end whose page does not answer gets the static form again every second.
- Without a watching front end (nbclient, nbconvert, nbmake, papermill) the output is replaced when
  a cell ends after the value has ended, because nbclient takes an update only from the cell that
  it is executing. So the saved output is the final one if that cell or a later one waits for the
  value, as `stream.result()` does; else it shows the progress at the time its cell was run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from conduit_lab.notebook.hub import Hub, connect_widget

T = TypeVar("T")
Send = Callable[[dict[str, Any]], object]

REPEAT_SECONDS = 1.0  # between static updates for a front end whose page does not respond

hub = Hub(connect_widget)
_unwatched: list[Mount[Any]] = []


class LiveView(Protocol):
    """The kernel's half of a live view: it sends updates to the page and handles messages."""

    def opened(self) -> None:
        """Send everything again, because a page has started to listen; from any thread."""

    def flush(self) -> None:
        """Send due updates; called by the hub's thread every 25 ms while the view is running."""

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from the page, on any thread."""

    def close(self) -> None:
        """Release the readers and buffers that the view holds."""


def _never(_value: Any) -> bool:
    return False


@dataclass(frozen=True)
class LiveForm(Generic[T]):
    """How to show values of one type live.

    `noun` names the folder of `view.js` and `view.css`, the page's half. `view` creates the
    kernel's half from a value and a function that sends one message. `ended` says whether the value
    is final; the output then becomes its static form. A view that is not `running` sends updates
    only in response to the page. `release` is called with a value whose cell runs again or was
    deleted.

    With `lasting`, the live view stays in the page after the end, above the static form in the
    notebook, until this many newer ones of the form have ended.
    """

    noun: str
    view: Callable[[T, Send], LiveView]
    ended: Callable[[T], bool] = _never
    running: Callable[[T], bool] = _never
    release: Callable[[T], object] | None = None
    lasting: int = 0


def register_live(shell: Any, kind: type[T] | str, form: LiveForm[T]) -> None:
    """Make `shell`, the kernel's IPython shell, show values of this type live; idempotent.

    A type may be given by its full name, to avoid importing its module.
    """
    formatter = shell.display_formatter.ipython_display_formatter
    formatter.for_type(kind, lambda value: show(value, form, shell))
    shell.events.register("post_run_cell", settle)  # registers a function only once
    shell.events.register("pre_run_cell", release_outputs)


def show(value: T, form: LiveForm[T], shell: Any) -> None:
    """Show `value` in the output of the cell that `shell` is running."""
    request = shell.kernel.get_parent()
    mount = Mount(value, form, shell.display_pub, str(_metadata(request).get("cellId", "")))
    watched = _watched(request)
    ended = form.ended(value)  # checked first: a value may end while it is being shown
    mount.show(lasting=watched and form.lasting > 0)
    if ended and not mount.lasting:
        return
    if watched:
        mount.open(hub)
    else:
        _unwatched.append(mount)


def settle(_result: Any = None) -> None:
    """Replace the unwatched outputs whose values have ended."""
    _unwatched[:] = [mount for mount in _unwatched if mount.tick(True)]


def release_outputs(info: Any) -> None:
    """Release the views in the outputs of the cell about to run, and of deleted cells."""
    gone = {getattr(info, "cell_id", None)}
    if (kernel := _kernel()) is not None:
        gone |= set(_metadata(kernel.get_parent()).get("deletedCells", ()))
    for mount in hub.views:
        if isinstance(mount, Mount) and mount.cell and mount.cell in gone:
            mount.release()


def _kernel() -> Any:
    from IPython import get_ipython  # a cell is running, so IPython is loaded

    return getattr(get_ipython(), "kernel", None)


class Mount(Generic[T]):
    """One output of one value, in the cell with the ID `cell` (empty if unknown).

    `publisher` is the shell's display publisher at the time of display; another cell may capture
    the shell's outputs when the value ends.
    """

    def __init__(self, value: T, form: LiveForm[T], publisher: Any, cell: str = "") -> None:
        self.value = value
        self.form = form
        self.cell = cell
        self.key = f"{form.noun}-{uuid4().hex[:8]}"
        self.lasting = False
        self._publisher = publisher
        self._hub: Hub | None = None
        self._view: LiveView | None = None
        self._repeat_at = monotonic() + REPEAT_SECONDS
        self._repeated = ""
        # since the last static form; set again by everything that the view sends
        self._changed = True

    @property
    def running(self) -> bool:
        """Whether the view sends updates on its own."""
        return self.form.running(self.value)

    def show(self, lasting: bool = False) -> None:
        """Show the value in its current state; a `lasting` live view stays after the end."""
        self.lasting = lasting
        self._publish(self._bundle())

    def open(self, hub: Hub) -> None:
        """Start sending updates to the pages of `hub`."""
        self._hub = hub
        self._view = self.form.view(self.value, self._send)
        hub.add(self)

    def opened(self) -> None:
        """Send everything again, because a page has started to listen."""
        self._repeated = ""
        if self._view is not None:
            self._view.opened()

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message from a page."""
        if self._view is not None:
            self._view.receive(message)

    def tick(self, watched: bool) -> bool:
        """Send due updates to the page; return False once the output is permanently static."""
        ended = self.form.ended(self.value)  # checked first: the last flush then sends the rest
        if ended and not self.lasting:
            self.freeze()
            return False
        if self._view is None:
            return True
        if watched:
            self._view.flush()
            if ended and self._changed:
                self.refresh()
                self._freeze_older()
        elif self._changed and monotonic() >= self._repeat_at:
            self._repeat_at = monotonic() + REPEAT_SECONDS
            self._changed = not ended
            self._repeat()
        return True

    def freeze(self) -> None:
        """Replace the output with the value's final static form and close the view."""
        try:
            bundle = sendable_bundle(self._static())
            # first for front ends that follow it: the page then finds nothing left to replace
            self._publish(bundle, update=True)
            if self._hub is not None:
                self._hub.end(self.key, bundle)
        finally:
            self._close()

    def refresh(self) -> None:
        """Replace the static form in the notebook of each page; the live view stays there."""
        self._changed = False
        bundle = sendable_bundle(self._bundle())
        if self._hub is not None and bundle["text/html"] != self._repeated:
            self._repeated = bundle["text/html"]
            self._hub.refresh(self.key, bundle)

    def release(self) -> None:
        """Close the view: its output is gone."""
        if self._hub is not None:
            self._hub.remove(self)
        self._close()
        if self.form.release is not None:
            self.form.release(self.value)

    def _close(self) -> None:
        if self._view is not None:
            self._view.close()

    def _send(self, message: dict[str, Any]) -> None:
        self._changed = True
        if self._hub is not None:
            self._hub.send(self.key, message)

    def _freeze_older(self) -> None:
        """End the oldest lasting views of the form beyond its limit at their next tick."""
        views = self._hub.views if self._hub is not None else []
        mounts = [view for view in views if isinstance(view, Mount) and view.form is self.form]
        ended = [mount for mount in mounts if mount.lasting and self.form.ended(mount.value)]
        for mount in ended[: -self.form.lasting]:
            mount.lasting = False

    def _repeat(self) -> None:
        bundle = self._bundle()
        if bundle["text/html"] != self._repeated:
            self._repeated = bundle["text/html"]
            self._publish(bundle, update=True)

    def _bundle(self) -> dict[str, Any]:
        """Return the static form, marked as the place of the live view while there is one."""
        live = self.lasting or not self.form.ended(self.value)  # before the value ends
        bundle = self._static()
        if live:
            bundle["text/html"] = f'<div data-conduit-view="{self.key}">{bundle["text/html"]}</div>'
        return bundle

    def _static(self) -> dict[str, Any]:
        return dict(self.value._repr_mimebundle_())  # type: ignore[attr-defined]

    def _publish(self, data: dict[str, Any], update: bool = False) -> None:
        transient = {"display_id": self.key}
        self._publisher.publish(sendable_bundle(data), {}, transient=transient, update=update)


def sendable(text: str) -> str:
    """Return `text` with lone surrogates replaced by `?`, as messages cannot encode them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def sendable_bundle(data: dict[str, Any]) -> dict[str, Any]:
    """Return a MIME bundle whose texts a message can encode."""
    return {
        mime: sendable(value) if isinstance(value, str) else value for mime, value in data.items()
    }


def _metadata(request: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = request.get("metadata") or {}
    return metadata


def _watched(request: dict[str, Any]) -> bool:
    """Return whether a front end shows this cell's outputs as they arrive.

    The execute request says whether its sender can answer `input()`: notebook front ends can,
    executors cannot.
    """
    return bool(request.get("content", {}).get("allow_stdin", False))
