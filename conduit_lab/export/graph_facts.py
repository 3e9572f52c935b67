"""Graph facts: recorded properties of an export's ONNX graphs, which replace the onnx package."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from conduit_lab.core.errors import ConduitError
from conduit_lab.runtime.checks.graph import check_graph
from conduit_lab.runtime.checks.graph_reader import RECORD, is_read, record_text
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import sessions
from conduit_lab.runtime.sessions.session import Options


def record_graphs(graphs: Collection[Path], folder: Path) -> None:
    """Write the facts of ONNX files into an exported folder; do nothing without files.

    Most were read when this process opened the models. Row independence is determined at the first
    batch, which may not have run yet. For a graph never opened here, such as another variant in a
    model's folder, only the facts stored with the file are recorded: it opens without onnx, and its
    calls are not batched.
    """
    if not graphs:
        return
    opened = {shared.key[0]: shared for shared in sessions}
    for file in graphs:
        with suppress(ConduitError):  # a file that is not a model cannot be opened there either
            was_read = is_read(file)
            shared = opened.get(check_graph(file).content)
            if shared is None and was_read:  # loaded only for this call, and freed after it
                shared = sessions.open(file, Options(device="cpu"))
            if shared is not None:
                Layout.of(shared, file).mixed()
    (folder / RECORD).write_text(record_text(graphs), "utf-8")
