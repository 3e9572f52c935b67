"""The live view of a session: its tables, and the running streams with Stop buttons."""

from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.session.view import SessionView
from conduit_lab.serving.app import App

SESSION: LiveForm[App] = LiveForm("session", SessionView)
