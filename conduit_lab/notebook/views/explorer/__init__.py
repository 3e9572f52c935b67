"""The live view of an `Explorer`: a map, a query box, hits, a lasso, and the entry in its document.

The value of an explorer never ends: its output keeps the static form, which the page renews when
the notebook is saved.
"""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.explorer.view import ExplorerView
from conduit_lab.vectors.explore.explorer import Explorer

EXPLORER: LiveForm[Explorer] = LiveForm("explorer", ExplorerView)
