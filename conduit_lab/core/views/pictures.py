"""Pictures: an image, a strip of thumbnails, and a sound player, all from data URLs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece

STRIP_HEIGHT = 56  # pixels
_CAPTION = "font-size:12px;line-height:16px;opacity:.7;white-space:nowrap"


@dataclass(frozen=True)
class Picture(ViewPiece):
    """An image, at most as wide as its container; its pixel size reserves space on the page."""

    url: str
    alt: str
    width: int = 0
    height: int = 0

    def plain(self) -> str:
        """Return its description in brackets."""
        return f"[{self.alt}]"

    def html(self) -> str:
        """Return the image element, with its size, so that decoding does not shift the page."""
        size = f' width="{self.width}" height="{self.height}"' if self.width else ""
        fit = "max-width:100%;max-height:480px;width:auto;height:auto" if self.width else ""
        style = fit or "max-width:100%;max-height:480px"
        return (
            f'<div style="margin:4px 0"><img src="{escape(self.url)}" alt="{escape(self.alt)}"'
            f'{size} style="{style};display:block"></div>'
        )


@dataclass(frozen=True)
class FilmStrip(ViewPiece):
    """Thumbnails in order, each (data URL, caption)."""

    frames: Sequence[tuple[str, str]]

    def plain(self) -> str:
        """Return "": the note below the strip counts the images."""
        return ""

    def html(self) -> str:
        """Return images of equal height with their captions; a long strip wraps."""
        frames = "".join(
            f'<div><img src="{escape(url)}" alt="" style="height:{STRIP_HEIGHT}px;max-width:100%;'
            f'display:block"><div style="{_CAPTION}">{escape(caption)}</div></div>'
            for url, caption in self.frames
        )
        return (
            f'<div style="{html.TEXT_STYLE};{TEXT_WIDTH};display:flex;flex-wrap:wrap;gap:8px;'
            f'margin:4px 0">{frames}</div>'
        )


@dataclass(frozen=True)
class Player(ViewPiece):
    """Controls that play a sound from a data URL."""

    url: str
    label: str

    def plain(self) -> str:
        """Return its description in brackets."""
        return f"[{self.label}]"

    def html(self) -> str:
        """Return an `audio` element of a fixed height."""
        return (
            f'<audio controls preload="metadata" src="{escape(self.url)}" '
            f'title="{escape(self.label)}" style="display:block;width:100%;max-width:480px;'
            'height:40px;margin:4px 0"></audio>'
        )
