"""Map picture: the points of a map as a PNG that is legible on white and black."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.indexed_png import indexed_png
from conduit_lab.core.views.labelled_picture import PictureLabel
from conduit_lab.vectors.arrays import BoolArray, Float64Array, IntArray
from conduit_lab.vectors.explore.coloring import REST_COLOR, Coloring

PICTURE_WIDTH, PICTURE_HEIGHT = 1_200, 800  # pixels, shown at half the size: sharp on dense screens
MARGIN = 0.06  # of each side
MAX_STRETCH = 1.6
_ALPHAS = 16  # opacity steps per colour
_POINT_ALPHAS = ((6_000, 0.85), (30_000, 0.7))  # by maximum number of points
_SMALLEST_ALPHA = 0.6
_DOT_RADII = ((600, 8.0), (6_000, 5.0), (30_000, 3.0))  # pixels, by maximum number of points
_SMALLEST = 2.0
_FAINT_LEVEL = 5
_CHARACTER_WIDTH, _TEXT_HEIGHT = 12.0, 26.0  # of a label in pixels, in a picture 720 pixels wide
_LINE_WIDTH, _RING_RADIUS, _RING_WIDTH = 2.0, 16.0, 5.0
_RING_ROOM = 6.0  # kept free around it, to stand out among many points
_TRIMMED = 0.002  # on each side, as a few distant points would shrink all others


class Frame(NamedTuple):
    """The part of the plane shown in a picture: its lower left corner and its size."""

    left: float
    bottom: float
    width: float
    height: float

    def __call__(self, xy: FloatArray | Float64Array) -> Float64Array:
        """Return positions `[n, 2]` as fractions of the picture from its upper left corner."""
        x = (xy[:, 0].astype(np.float64) - self.left) / self.width
        y = 1 - (xy[:, 1].astype(np.float64) - self.bottom) / self.height
        return np.stack([x, y], axis=1)


def home_box(xy: FloatArray) -> tuple[Float64Array, Float64Array]:
    """Return the corners `[2]` of the box around positions `[n, 2]`, except a few distant ones."""
    if not len(xy):
        return np.zeros(2), np.ones(2)
    wide = xy.astype(np.float64)
    low, high = wide.min(axis=0), wide.max(axis=0)
    inner_low, inner_high = np.quantile(wide, (_TRIMMED, 1 - _TRIMMED), axis=0)
    if np.any(high - low > 2 * (inner_high - inner_low)) and np.all(inner_high > inner_low):
        low, high = np.maximum(low, inner_low), np.minimum(high, inner_high)
    return low, high


def frame_of(xy: FloatArray, ratio: float = PICTURE_WIDTH / PICTURE_HEIGHT) -> Frame:
    """Return the frame of positions `[n, 2]`, one axis stretched by at most half to fill it.

    A few distant positions may be outside the frame.
    """
    if not len(xy):
        return Frame(-ratio / 2, -0.5, ratio, 1.0)
    low, high = home_box(xy)
    middle, size = (low + high) / 2, high - low
    width, height = max(size[0], size[1] * ratio / MAX_STRETCH), size[1]
    height = max(height, width / ratio / MAX_STRETCH)
    if height < 1e-9:
        width, height = ratio, 1.0
    width, height = width / (1 - 2 * MARGIN), height / (1 - 2 * MARGIN)
    return Frame(
        float(middle[0] - width / 2), float(middle[1] - height / 2), float(width), float(height)
    )


def map_picture(
    xy: FloatArray,
    coloring: Coloring,
    frame: Frame,
    ring: FloatArray | None = None,
    hits: FloatArray | None = None,
    labels: Sequence[PictureLabel] = (),
) -> bytes:
    """Return a PNG file of points in the colours of their categories.

    `ring` `[2]` is the position of the query, with lines to the positions of its `hits` `[m, 2]`.
    Points are fainter behind `labels`.
    """
    colors = [category.color for category in coloring.categories] + [REST_COLOR]
    last = len(colors) - 1
    groups = np.minimum(coloring.codes.astype(np.int64), last)
    places = frame(xy) * (PICTURE_WIDTH, PICTURE_HEIGHT)
    radius = next((size for count, size in _DOT_RADII if len(xy) <= count), _SMALLEST)
    offsets, weights = _disc(radius)
    cells, covers = _covered(places, offsets, weights)
    touched = np.zeros(PICTURE_HEIGHT * PICTURE_WIDTH, np.bool_)
    touched[cells[covers > 0]] = True
    painted = np.flatnonzero(touched)
    number = np.cumsum(touched) - 1
    columns = number[cells] * len(colors) + groups[:, np.newaxis]
    room = len(painted) * len(colors)
    each = np.bincount(columns[covers > 0], covers[covers > 0], room).reshape(-1, len(colors))
    alpha = next((own for count, own in _POINT_ALPHAS if len(xy) <= count), _SMALLEST_ALPHA)
    opacity = 1 - (1 - alpha) ** each.sum(axis=1)
    levels = np.ceil(opacity * _ALPHAS - 1e-3).clip(1, _ALPHAS).astype(np.int64)
    pixels = np.zeros(PICTURE_HEIGHT * PICTURE_WIDTH, np.uint8)
    levels = np.where(_behind(labels)[painted], np.minimum(levels, _FAINT_LEVEL), levels)
    pixels[painted] = each.argmax(axis=1) * _ALPHAS + levels
    palette = [(0, 0, 0, 0)]
    for color in colors:
        red, green, blue = bytes.fromhex(color[1:])
        steps = range(1, _ALPHAS + 1)
        palette += [(red, green, blue, 255 * step // _ALPHAS) for step in steps]
    if ring is not None:
        _draw_query(pixels, frame, ring, hits, len(palette))
        palette += [(128, 128, 128, 200), (128, 128, 128, 255)]
    return indexed_png(pixels.reshape(PICTURE_HEIGHT, PICTURE_WIDTH), np.array(palette, np.uint8))


def label_places(xy: FloatArray, coloring: Coloring, frame: Frame) -> list[tuple[float, float]]:
    """Return the middle of each category's points, as fractions of the picture.

    Labels that would overlap are moved apart vertically.
    """
    at = frame(xy)
    wanted: list[tuple[float, float]] = []
    for code in range(len(coloring.categories)):
        own = at[coloring.codes == code]
        middle = np.quantile(own, 0.5, axis=0) if len(own) else np.full(2, 0.5)
        wanted.append((float(middle[0]), float(middle[1])))
    return _apart(wanted, [category.label for category in coloring.categories])


def _apart(
    places: Sequence[tuple[float, float]], texts: Sequence[str]
) -> list[tuple[float, float]]:
    """Return positions at which 12-pixel texts do not overlap in a picture 600 pixels wide."""
    step = 18 / (PICTURE_HEIGHT / 2)
    widths = [min(0.45, 7.2 * len(text) / (PICTURE_WIDTH / 2)) for text in texts]
    placed: list[tuple[float, float, float]] = []
    found: dict[int, tuple[float, float]] = {}
    for i in range(len(places)):
        x = min(max(places[i][0], widths[i] / 2), 1 - widths[i] / 2)
        for move in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6):
            y = min(max(places[i][1] + move * step, step / 2), 1 - step / 2)
            if all(
                abs(y - other_y) >= step * 0.95 or abs(x - other_x) >= (widths[i] + width) / 2
                for other_x, other_y, width in placed
            ):
                break
        placed.append((x, y, widths[i]))
        found[i] = (x, y)
    return [found[i] for i in range(len(places))]


def _behind(labels: Sequence[PictureLabel]) -> BoolArray:
    """Return the pixels behind labels, `[height × width]`."""
    behind = np.zeros((PICTURE_HEIGHT, PICTURE_WIDTH), np.bool_)
    for label in labels:
        x, y = label.x * PICTURE_WIDTH, label.y * PICTURE_HEIGHT
        wide, high = _CHARACTER_WIDTH * len(label.text) / 2, _TEXT_HEIGHT / 2
        top, left = max(0, int(y - high)), max(0, int(x - wide))
        behind[top : max(0, int(y + high)), left : max(0, int(x + wide))] = True
    return behind.ravel()


def _disc(radius: float) -> tuple[IntArray, npt.NDArray[np.float32]]:
    """Return the pixels of a disc around 0, `[m, 2]`, and the coverage of each."""
    reach = int(np.ceil(radius + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    cover = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).ravel()
    kept = cover > 0
    return np.stack([x.ravel(), y.ravel()], axis=1)[kept], cover[kept].astype(np.float32)


def _covered(
    places: Float64Array, offsets: IntArray, weights: npt.NDArray[np.float32]
) -> tuple[IntArray, Float64Array]:
    """Return the pixels `[n, m]` under a disc at each of `places`, and their coverage.

    Pixels outside the picture are replaced by the first pixel with coverage 0.
    """
    at = np.floor(places).astype(np.int64)[:, np.newaxis] + offsets
    inside = np.all((at >= 0) & (at < (PICTURE_WIDTH, PICTURE_HEIGHT)), axis=2)
    cells = np.where(inside, at[:, :, 1] * PICTURE_WIDTH + at[:, :, 0], 0)
    return cells, np.where(inside, weights.astype(np.float64), 0.0)


def _draw_query(
    pixels: npt.NDArray[np.uint8],
    frame: Frame,
    ring: FloatArray,
    hits: FloatArray | None,
    first: int,
) -> None:
    """Draw lines from the ring to the hits in the colour `first`, and the ring in the next."""
    picture = pixels.reshape(PICTURE_HEIGHT, PICTURE_WIDTH)
    middle = (frame(ring.reshape(1, 2)) * (PICTURE_WIDTH, PICTURE_HEIGHT))[0]
    for end in (
        frame(hits) * (PICTURE_WIDTH, PICTURE_HEIGHT) if hits is not None and len(hits) else []
    ):
        length = float(np.hypot(*(end - middle)))
        if length > _RING_RADIUS:
            steps = np.linspace(_RING_RADIUS / length, 1, max(2, int(2 * length)))
            line = middle + steps[:, np.newaxis] * (end - middle)
            for off in range(int(_LINE_WIDTH)):
                _paint(picture, line + off, first)
    turn = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for width, color in ((_RING_WIDTH + _RING_ROOM, 0), (_RING_WIDTH, first + 1)):
        for radius in np.arange(_RING_RADIUS - width / 2, _RING_RADIUS + width / 2, 0.5):
            _paint(picture, middle + radius * circle, color)


def _paint(picture: npt.NDArray[np.uint8], places: Float64Array, value: int) -> None:
    at = np.round(places).astype(np.int64)
    inside = np.all((at >= 0) & (at < (PICTURE_WIDTH, PICTURE_HEIGHT)), axis=1)
    picture[at[inside, 1], at[inside, 0]] = value
