"""The live view of an `Explorer`: map, query box, hits, lasso, and entries in their document.

An explorer never ends as a value: its output keeps the static form, which the page refreshes when
the notebook is saved.
"""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.explorer.view import ExplorerView
from conduit_lab.vectors.explore.explorer import Explorer

EXPLORER: LiveForm[Explorer] = LiveForm("explorer", ExplorerView)
