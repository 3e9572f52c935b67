"""A comparison as a cell's value: its table, and its chart below."""

from __future__ import annotations

from typing import Any


def register(shell: Any) -> None:
    """Make `shell`, the kernel's IPython shell, show a `Comparison` whole; idempotent.

    A front end picks one form of a bundle, and JupyterLab the table before the chart: so they are two outputs.
    """
    formatter = shell.display_formatter.ipython_display_formatter
    formatter.for_type_by_name("conduit_lab.models.comparison", "Comparison", lambda value: _show(value, shell))


def _show(comparison: Any, shell: Any) -> None:
    table = comparison._repr_mimebundle_()
    shell.display_pub.publish({kind: table[kind] for kind in ("text/plain", "text/html")})
    chart = comparison.chart._repr_mimebundle_()
    shell.display_pub.publish(chart[0] if isinstance(chart, tuple) else chart)
