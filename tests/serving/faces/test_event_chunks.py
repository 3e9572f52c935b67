"""Chunks of every type and number as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conduit_lab import App
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces import transport
from tests.serving.conftest import SECONDS, Ask
from tests.serving.faces.counting import data


def test_images_arrays_bytes_and_rows_have_a_form(app: App, asking: Ask) -> None:
    import base64

    import numpy as np
    import pandas as pd

    from conduit_lab.core.streams.media import png

    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    frame = pd.DataFrame({"city": ["Bern", None], "count": [1, 2]})

    @app.ml_stream("/mixed")
    def mixed() -> Iterator[Any]:
        yield picture
        yield {"step": 1, "image": png(picture)}
        yield np.array([1.5, float("nan")])
        yield b"\x00\x01"
        yield frame
        yield from frame.itertuples()

    image = {"type": "image/png", "base64": base64.b64encode(png(picture)).decode()}
    rows: list[dict[str, Any]] = [{"city": "Bern", "count": 1}, {"city": None, "count": 2}]
    assert data(asking(app).post("/mixed").text) == [
        image,
        {"step": 1, "image": image},
        [1.5, None],
        {"type": "application/octet-stream", "base64": "AAE="},
        rows,
        *({"Index": n, **row} for n, row in enumerate(rows)),
    ]


def test_a_heavy_chunk_is_encoded_whole(app: App, asking: Ask) -> None:
    import numpy as np

    app.ml_stream("/heavy")(lambda: iter([np.arange(100_000), "after"]))
    assert data(asking(app).post("/heavy").text) == [list(range(100_000)), "after"]


def test_a_frame_is_sent_row_by_row(app: App, asking: Ask) -> None:
    import pandas as pd

    app.ml_stream("/frame")(lambda: pd.DataFrame({"a": [1, 2]}))
    assert data(asking(app).post("/frame").text) == [{"a": 1}, {"a": 2}]


def test_a_long_log_arrives_whole_and_in_order(app: App, asking: Ask) -> None:
    app.ml_stream("/long")(lambda: iter(range(3 * transport._MAX_BATCH_CHUNKS + 1)))
    assert data(asking(app).post("/long").text) == list(range(3 * transport._MAX_BATCH_CHUNKS + 1))


def test_a_client_that_falls_out_of_the_log_is_told_and_goes_on(app: App, asking: Ask) -> None:
    def lagging() -> Stream[str]:
        stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
        reader = stream.reader(0)
        stream.wait(SECONDS)
        stream.reader = lambda start=None: reader  # type: ignore[method-assign]
        return stream

    app.ml_stream("/lagging")(lagging)
    answer = asking(app).post("/lagging").text
    lagged, *rest = data(answer)
    assert lagged["missed"] == lagged["resume_at"] == int(rest[0])
    assert answer.count("event: lagged") == 1
    assert int(rest[-1]) == 99
