"""The live view of a server: its traffic, endpoints, models and newest failures."""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.server.dashboard import Dashboard
from conduit_lab.serving.run.thread import Server

SERVER: LiveForm[Server] = LiveForm(
    "server",
    Dashboard,
    ended=lambda server: not server.running,
    running=lambda server: server.running,
)
