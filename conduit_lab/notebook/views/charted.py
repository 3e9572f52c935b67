"""Values with a chart as a cell's value: the table, and the chart below."""

from __future__ import annotations

from typing import Any

_CHARTED = (
    ("conduit_lab.models.measure.comparison", "Comparison"),
    ("conduit_lab.vectors.evaluate", "Evaluation"),
)


def register_charted(shell: Any) -> None:
    """Make `shell`, the kernel's IPython shell, show their table and chart; idempotent.

    They are two outputs, since a front end shows one form of a bundle: JupyterLab the table.
    """
    formatter = shell.display_formatter.ipython_display_formatter
    for module, name in _CHARTED:
        formatter.for_type_by_name(module, name, lambda value: _show(value, shell))


def _show(value: Any, shell: Any) -> None:
    table = value._repr_mimebundle_()
    shell.display_pub.publish({kind: table[kind] for kind in ("text/plain", "text/html")})
    chart = value.chart._repr_mimebundle_()
    shell.display_pub.publish(chart[0] if isinstance(chart, tuple) else chart)
