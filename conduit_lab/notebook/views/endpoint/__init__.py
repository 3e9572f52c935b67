"""The live form of an endpoint: that of the docs page, with calls that run in the kernel.

An endpoint never ends as a value: its output keeps the static form for saved notebooks.
"""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.endpoint.view import EndpointView, is_running
from conduit_lab.serving.endpoint import Endpoint

ENDPOINT: LiveForm[Endpoint[..., object]] = LiveForm("endpoint", EndpointView, running=is_running)
