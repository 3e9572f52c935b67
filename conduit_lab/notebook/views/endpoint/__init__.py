"""The live form of an endpoint: the one of the docs page, whose calls run in the kernel.

The value of an endpoint never ends: its output keeps the static form for a saved notebook.
"""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.endpoint.view import EndpointView, is_running
from conduit_lab.serving.endpoint import Endpoint

ENDPOINT: LiveForm[Endpoint[..., object]] = LiveForm("endpoint", EndpointView, running=is_running)
