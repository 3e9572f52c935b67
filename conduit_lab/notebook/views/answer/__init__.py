"""The live view of an `AnswerStream`: its sources first, then the answer as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_lab.notebook.cell_streams import stop_unnamed
from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.answer.view import AnswerView

if TYPE_CHECKING:
    from conduit_lab.flow.answer_stream import AnswerStream

ANSWER: LiveForm[AnswerStream] = LiveForm(
    "answer",
    AnswerView,
    ended=lambda stream: stream.finished,
    running=lambda stream: not stream.finished,
    release=stop_unnamed,
)
