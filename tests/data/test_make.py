"""The scripts in `data/make` and the committed files that they write."""

import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from tests.data.scripts import script

DATA = Path(__file__).resolve().parents[2] / "data"
MODELS = DATA / "models"
VOTERS = ("m1.npz", "m2.npz", "m3.npz")
TOPICS = ["accounts", "delivery", "ordering", "products", "repairs", "returns", "warranty"]
MOODS = ["angry", "neutral", "pleased"]


@pytest.mark.parametrize("name", ["chat", "heads", "messages", "minilm", "reranker", "writer"])
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--unknown", 2)])
def test_help_and_an_unknown_option_make_nothing(
    name: str,
    option: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = DATA / "make" / f"{name}.py"
    before = sorted(MODELS.iterdir()), (DATA / "messages.csv").stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", [str(file), option])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(file), run_name="__main__")
    assert ended.value.code == status
    assert "usage:" in "".join(capsys.readouterr())
    assert (sorted(MODELS.iterdir()), (DATA / "messages.csv").stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file", [f for f in (DATA / "make").glob("*.py") if "__main__" in f.read_text("utf-8")], ids=str
)
def test_every_script_checks_its_arguments(file: Path) -> None:
    text = file.read_text("utf-8")
    assert "argparse.ArgumentParser(" in text or "MODEL.run(__doc__, arguments)" in text
    assert "sys.argv[1]" not in text


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    return script("messages")


@pytest.fixture(scope="module")
def heads() -> ModuleType:
    return script("heads")


@pytest.fixture(scope="module")
def minilm() -> ModuleType:
    return script("minilm")


@pytest.fixture(scope="module")
def embedder(heads: ModuleType) -> Any:
    """The folder of MiniLM: required in CI, optional in a fresh checkout."""
    folder = MODELS / "minilm"
    if not (folder / "model.onnx").exists():
        reason = "data/models/minilm is missing: run data/make/minilm.py"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return heads.load_model(folder)


# messages.py


def test_messages_are_made_again_byte_for_byte(messages: ModuleType, tmp_path: Path) -> None:
    messages.main(tmp_path / "messages.csv")
    assert (tmp_path / "messages.csv").read_bytes() == (DATA / "messages.csv").read_bytes()


@pytest.mark.parametrize("block", ["FRAMES", "PHRASES"])
def test_no_wording_stands_in_both_splits(messages: ModuleType, block: str) -> None:
    words: dict[str, set[str]] = {"train": set(), "heldout": set()}
    for (_, split, _), entries in messages.parse(getattr(messages, block)).items():
        words[split] |= {
            " ".join(re.findall(r"\w+", re.sub(r"\{\w+\}", "_", entry.lower())))
            for entry in entries
        }
    assert words["train"]
    assert words["heldout"]
    assert not words["train"] & words["heldout"]


def test_no_row_holds_a_wording_of_the_other_split(messages: ModuleType, heads: ModuleType) -> None:
    texts = {
        split: "\n".join(heads.read_messages(split).texts).lower() for split in ("train", "heldout")
    }
    other = {"train": "heldout", "heldout": "train"}
    for block in (messages.FRAMES, messages.PHRASES):
        for (_, split, _), entries in messages.parse(block).items():
            for entry in entries:
                parts = [re.escape(part) for part in re.split(r"\{\w+\}", entry.lower())]
                assert not re.search(r"\b" + r"[\w€ -]+".join(parts), texts[other[split]]), entry


def test_both_splits_have_every_topic_and_mood(heads: ModuleType) -> None:
    for split in ("train", "heldout"):
        labels = heads.read_messages(split).labels
        assert sorted(set(labels["topic"])) == TOPICS
        assert sorted(set(labels["mood"])) == MOODS


# minilm.py


def test_the_graph_equals_a_forward_pass_in_numpy(minilm: ModuleType) -> None:
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "layer_norm_eps": 1e-12,
    }
    weights = random_bert(config, inner=16, vocabulary=20, positions=10)
    model = minilm.build_model(weights, config)
    onnx.checker.check_model(model, full_check=True)
    ids = np.array([[1, 5, 9, 2, 0], [1, 7, 2, 0, 0], [3, 4, 5, 6, 7]], np.int64)
    types = np.array([[0, 0, 1, 1, 0], [0] * 5, [1] * 5], np.int64)
    mask = (ids > 0).astype(np.int64)
    got = ReferenceEvaluator(model).run(
        None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    )[0]
    for row, count in enumerate(mask.sum(axis=1)):  # the reference in NumPy has no padding
        want = bert_embedding(weights, config, ids[row, :count], types[row, :count])
        np.testing.assert_allclose(got[row], want, atol=1e-5)


def random_bert(
    config: dict[str, Any], inner: int, vocabulary: int, positions: int
) -> dict[str, NDArray[np.float32]]:
    width = config["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    norms = ["embeddings.LayerNorm"]
    dense: dict[str, tuple[int, int]] = {}
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        dense |= {
            f"{layer}.attention.self.{part}": (width, width) for part in ("query", "key", "value")
        }
        dense |= {
            f"{layer}.attention.output.dense": (width, width),
            f"{layer}.intermediate.dense": (inner, width),
            f"{layer}.output.dense": (width, inner),
        }
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    shapes |= {f"{name}.weight": shape for name, shape in dense.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in dense.items()}
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def bert_embedding(
    weights: dict[str, NDArray[np.float32]],
    config: dict[str, Any],
    ids: NDArray[np.int64],
    types: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the normalized mean embedding of BERT (Devlin et al. 2019) for one sentence."""

    def dense(name: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], np.float64)

    def norm(name: str, value: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = value - value.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(
            (centred**2).mean(axis=-1, keepdims=True) + config["layer_norm_eps"]
        )
        return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"], np.float64)

    hidden = norm(
        "embeddings.LayerNorm",
        weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][types],
    )
    width = config["hidden_size"] // config["num_attention_heads"]
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        query, key, value = (
            dense(f"{layer}.attention.self.{part}", hidden) for part in ("query", "key", "value")
        )
        context = np.zeros_like(hidden)
        for head in (
            slice(start, start + width) for start in range(0, config["hidden_size"], width)
        ):
            scores = np.exp(query[:, head] @ key[:, head].T / math.sqrt(width))
            context[:, head] = scores / scores.sum(axis=1, keepdims=True) @ value[:, head]
        attended = dense(f"{layer}.attention.output.dense", context)
        hidden = norm(f"{layer}.attention.output.LayerNorm", attended + hidden)
        inner = dense(f"{layer}.intermediate.dense", hidden)
        inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        hidden = norm(f"{layer}.output.LayerNorm", dense(f"{layer}.output.dense", inner) + hidden)
    mean = hidden.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float64)


def test_a_failed_download_is_told_in_a_sentence(
    minilm: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = SimpleNamespace(
        returncode=1, stderr="WARNING: slow\nERROR: No matching distribution found\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: failed)
    assert minilm.main([str(tmp_path / "minilm")]) == 1
    assert (
        "could not be downloaded: ERROR: No matching distribution found" in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_up_to_date_is_left_alone(
    minilm: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / ".stamp").write_text(minilm.MODEL.stamp(), encoding="utf-8")
    assert minilm.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path.name} is up to date\n"


def test_a_folder_of_something_else_is_not_replaced(
    minilm: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy", encoding="utf-8")
    assert minilm.main([str(tmp_path)]) == 1
    assert "did not make" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_minilm_gives_the_vectors_of_sentence_transformers(embedder: Any) -> None:
    vector = embedder.encode(["The kettle is dead."])[0]
    # The first components from sentence-transformers 6.2.0 with torch 2.13.0.
    want = [-0.0246590525, 0.0100026717, -0.0331047513, -0.0218092017, -0.0303768869, 0.0025860020]
    np.testing.assert_allclose(vector[:6], want, atol=2e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


# heads.py


def test_topic_is_a_graph_with_labels() -> None:
    model = onnx.load(MODELS / "topic.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [value.name for value in model.graph.input] == ["embedding"]
    assert [value.name for value in model.graph.output] == ["probabilities"]
    assert (
        json.loads({entry.key: entry.value for entry in model.metadata_props}["labels"]) == TOPICS
    )
    embeddings = np.random.default_rng(0).normal(size=(3, 384)).astype(np.float32)
    probabilities = ReferenceEvaluator(model).run(None, {"embedding": embeddings})[0]
    assert probabilities.shape == (3, 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "labels"), [("mood.npz", MOODS), *((file, TOPICS) for file in VOTERS)]
)
def test_weights_chain_from_embedding_to_labels(file: str, labels: list[str]) -> None:
    with np.load(MODELS / file, allow_pickle=False) as arrays:
        depth = len(arrays["activations"])
        assert set(arrays) == {"activations", "labels"} | {
            f"{kind}{index}" for kind in "Wb" for index in range(depth)
        }
        assert arrays["labels"].tolist() == labels
        assert set(arrays["activations"][:-1]) <= {"relu", "tanh"}
        assert arrays["activations"][-1] == "softmax"
        width = 384
        for index in range(depth):
            weight, bias = arrays[f"W{index}"], arrays[f"b{index}"]
            assert weight.dtype == bias.dtype == np.float32
            assert weight.shape == (width, *bias.shape)
            width = len(bias)
        assert width == len(labels)


def test_written_heads_are_equal_on_a_rerun(heads: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = heads.Messages(
        ["…"] * 70, {"topic": np.array(TOPICS * 10), "mood": np.array((MOODS * 24)[:70])}
    )
    embeddings = rng.normal(size=(70, 384)).astype(np.float32)
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        heads.make_heads(embeddings, rows, tmp_path / run)
    for recipe in heads.RECIPES:
        assert (tmp_path / "first" / recipe.file).read_bytes() == (
            tmp_path / "second" / recipe.file
        ).read_bytes()


def test_readme_states_what_the_committed_files_reach(heads: ModuleType, embedder: Any) -> None:
    train, heldout = heads.read_messages("train"), heads.read_messages("heldout")
    figures = heads.evaluate(embedder.encode(heldout.texts), heldout)
    text = heads.readme(figures, len(train.texts), len(heldout.texts))
    assert text == (MODELS / "README.md").read_text(encoding="utf-8")
    assert all(figures[name] >= bar for name, bar in heads.BARS.items())
