"""The live view of a `TokenStream`: its text with probabilities, alternatives and branches.

It stays after the end: clicking a token of a finished text branches from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_lab.notebook.cell_streams import stop_unnamed
from conduit_lab.notebook.mount import LiveForm
from conduit_lab.notebook.views.generation.view import GenerationView, with_branches

if TYPE_CHECKING:
    from conduit_lab.models.generation.token_stream import TokenStream

MAX_LASTING = 16  # each holds its stream with all branches


def _ended(stream: TokenStream) -> bool:
    return all(branch.finished for branch in with_branches(stream))


def _release(stream: TokenStream) -> None:
    for branch in list(with_branches(stream)):
        stop_unnamed(branch)


GENERATION: LiveForm[TokenStream] = LiveForm(
    "generation",
    GenerationView,
    ended=_ended,
    running=lambda stream: not _ended(stream),
    release=_release,
    lasting=MAX_LASTING,
)
