"""A value with a chart as a cell's value: its table, and its chart below."""

from __future__ import annotations

from typing import Any

_CHARTED = (
    ("conduit_lab.models.measure.comparison", "Comparison"),
    ("conduit_lab.vectors.evaluate", "Evaluation"),
)


def register(shell: Any) -> None:
    """Make `shell`, the kernel's IPython shell, show a `Comparison` or an `Evaluation` whole;
    idempotent.

    A front end picks one form of a bundle, and JupyterLab the table before the chart: so they are
    two outputs.
    """
    formatter = shell.display_formatter.ipython_display_formatter
    for module, name in _CHARTED:
        formatter.for_type_by_name(module, name, lambda value: _show(value, shell))


def _show(value: Any, shell: Any) -> None:
    table = value._repr_mimebundle_()
    shell.display_pub.publish({kind: table[kind] for kind in ("text/plain", "text/html")})
    chart = value.chart._repr_mimebundle_()
    shell.display_pub.publish(chart[0] if isinstance(chart, tuple) else chart)
