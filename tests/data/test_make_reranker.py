"""The score of the reranker made from MiniLM."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.models.kinds import kind_of_folder
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.reranker import Reranker

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "make" / "reranker.py"
QUESTION = "When do I get my money back?"
PASSAGES = [
    "We refund within five working days after the parcel has reached us.",
    "A kettle is descaled once a month.",
    QUESTION,
    "",
]


@pytest.fixture(scope="module")
def reranker(minilm: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    folder = tmp_path_factory.mktemp("made") / "reranker"
    runpy.run_path(str(SCRIPT))["make"](folder, minilm.path)
    return Reranker(folder, device="cpu").open()


def test_a_passage_that_answers_is_better_than_one_that_does_not(reranker: Reranker) -> None:
    answer, other, _, nothing = reranker.score(QUESTION, PASSAGES)
    assert answer > other + 0.2
    assert nothing == -1


def test_each_text_is_encoded_independently(reranker: Reranker) -> None:
    # without positions and context, every word is most similar to itself
    texts = [QUESTION, "kettle", "A refund takes five days. Then the bank needs three more."]
    assert [float(reranker.score(text, [text])[0]) for text in texts] == pytest.approx(
        [1, 1, 1], abs=1e-5
    )


def test_batching_and_padding_change_nothing(reranker: Reranker) -> None:
    together = reranker.score(QUESTION, PASSAGES)
    alone = np.concatenate([reranker.score(QUESTION, [passage]) for passage in PASSAGES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_folder_is_one_of_a_reranker(reranker: Reranker) -> None:
    assert kind_of_folder(reranker.path) is Reranker
    assert reranker.max_length == 512
    assert "Apache-2.0" in (reranker.path / "README.md").read_text("utf-8")


def test_what_the_script_did_not_make_is_left_alone(minilm: Embedder, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(SystemExit, match="move it away"):
        runpy.run_path(str(SCRIPT))["make"](tmp_path, minilm.path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
