"""LabelledPicture: an image with text labels, and a colour legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import TEXT_WIDTH, ViewPiece, block

_LABEL = (
    "position:absolute;font-size:12px;line-height:16px;font-weight:600;text-align:center;"
    "white-space:nowrap"
)
_LABEL_WIDTH = 240  # pixels around a label's position, within which it is centred


@dataclass(frozen=True)
class PictureLabel:
    """A text at a position in an image, as fractions of width and height from the top left."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class LabelledPicture(ViewPiece):
    """An image from a data URL, with text labels; `description` is its alternative text."""

    url: str
    labels: Sequence[PictureLabel] = ()
    description: str = ""

    def plain(self) -> str:
        """Return "": the facts of the view describe the image."""
        return ""

    def html(self) -> str:
        """Return the image, at most 720 pixels wide, with its labels."""
        labels = "".join(map(_label, self.labels))
        return (
            f'<div style="{html.TEXT_STYLE};position:relative;{TEXT_WIDTH};overflow:hidden">'
            f'<img src="{escape(self.url)}" alt="{escape(self.description)}" '
            f'style="width:100%;display:block">{labels}</div>'
        )


@dataclass(frozen=True)
class ColorLine(ViewPiece):
    """A colour swatch, its name, a number at the right, and muted text below."""

    color: str
    name: str
    number: str = ""
    note: str = ""

    def plain(self) -> str:
        """Return the name, the number and the text below."""
        return "\n".join(filter(None, [f"■ {self.name}  {self.number}".rstrip(), self.note]))

    def html(self) -> str:
        """Return one line with the swatch, and the muted text below."""
        square = f"background:linear-gradient(to right,{self.color},{self.color})"
        note = f'<div style="padding-left:20px">{block(escape(self.note), "quiet")}</div>'
        return (
            f'<div style="{html.TEXT_STYLE};{TEXT_WIDTH};display:flex;column-gap:8px;'
            'align-items:baseline;margin:2px 0">'
            f'<span style="display:inline-block;width:12px;height:12px;flex:none;{square}"></span>'
            f'<span style="min-width:0;overflow-wrap:break-word"><b>{escape(self.name)}</b></span>'
            f'<span style="margin-left:auto;opacity:.7;white-space:nowrap">{escape(self.number)}'
            f"</span></div>{note if self.note else ''}"
        )


def _label(label: PictureLabel) -> str:
    """Return a label centred at its position, without a `transform`, which would be stripped."""
    place = f"left:{100 * label.x:.1f}%;top:{100 * label.y:.1f}%"
    centred = f"width:{_LABEL_WIDTH}px;margin-left:-{_LABEL_WIDTH // 2}px;margin-top:-8px"
    return f'<div style="{_LABEL};{place};{centred}">{escape(label.text)}</div>'
