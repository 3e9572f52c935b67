"""Branches of a token stream: their tokens, their cache and their ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, StreamCancelled
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.token_stream import TokenStream
from tests.models.generation import longrope
from tests.models.generation.merged import merged_folder
from tests.models.generation.token_streams import (
    PROMPT,
    WARM,
    clear_cache,
    ended,
    id_list,
    prefilled,
    prompt_ids,
    until,
)
from tests.models.generation.writers import DECODERS


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def writer(request: pytest.FixtureRequest) -> Iterator[Generator]:
    """A cache of one buffer, and one that grows."""
    made = Generator(DECODERS / request.param, device="cpu", rows=4).open()
    yield made
    made.unload()


@pytest.fixture(scope="module")
def llama() -> Iterator[Generator]:
    made = Generator(DECODERS / "llama", device="cpu", rows=4).open()
    yield made
    made.unload()


# Branches


@pytest.mark.parametrize("how", [{}, WARM])
def test_the_same_token_gives_the_same_text(writer: Generator, how: dict[str, Any]) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=40, **how))
    for position in (0, 1, 17, len(stream.tokens) - 1):
        branch = stream.branch(position, stream.tokens[position].id)
        assert id_list(branch) == id_list(stream)
        assert branch.result() == stream.result()


def test_a_branch_goes_on_as_a_prompt_of_its_tokens(writer: Generator) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=30))
    branch = stream.branch(11, 77)
    fresh = writer.generate([*prompt_ids(writer), *id_list(stream)[:11], 77], max_tokens=18)
    assert id_list(branch) == [*id_list(stream)[:11], 77, *(token.id for token in fresh.tokens)]
    assert [token.logprob for token in branch.tokens[12:]] == pytest.approx(
        [token.logprob for token in fresh.tokens], abs=1e-3
    )


def test_only_the_token_before_it_and_the_chosen_one_are_run(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=30))
    runs = prefilled(writer, monkeypatch)
    usage = ended(stream.branch(20, 9)).result().usage
    assert runs == [2]
    prompt = len(prompt_ids(writer))
    assert (usage.prompt, usage.cached, usage.generated) == (prompt + 21, prompt + 19, 9)
    assert 0 < usage.first_token <= usage.seconds


def test_a_short_prompt_is_not_run_again(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ended(writer.stream("Kettle", max_tokens=8))
    runs = prefilled(writer, monkeypatch)
    ended(stream.branch(2, 9))
    assert runs == [2]


def test_a_branch_without_its_cache_is_prefilled_again(writer: Generator) -> None:
    stream = ended(writer.stream(PROMPT, max_tokens=30, **WARM))
    with_cache = id_list(stream.branch(20, 9))
    clear_cache(writer)
    branch = ended(stream.branch(20, 9))
    assert branch.result().usage.cached == 0
    assert id_list(branch) == with_cache


def test_a_branch_after_unloading_opens_the_model_again(llama: Generator) -> None:
    stream = ended(llama.stream(PROMPT, max_tokens=30))
    before = id_list(stream.branch(20, 9))
    llama.unload()
    assert id_list(stream.branch(20, 9)) == before


def test_a_running_stream_branches_and_goes_on(
    writer: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = id_list(writer.stream(PROMPT, max_tokens=60, **WARM))
    clear_cache(writer)
    parent = writer.stream(PROMPT, max_tokens=60, **WARM)
    until(lambda: parent.count > 6)
    branch = parent.branch(5, alone[5])
    assert id_list(branch) == id_list(parent) == alone
    assert branch.result().usage.cached >= len(prompt_ids(writer)) + 4


def test_a_cancelled_stream_branches_on_its_cache(
    llama: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = llama.stream(PROMPT, max_tokens=190, logit_bias={0: -100, 2: -100})
    until(lambda: parent.count > 6)
    parent.cancel()
    until(lambda: llama._parts().scheduler.running == 0)
    runs = prefilled(llama, monkeypatch)
    branch = ended(parent.branch(5, 9))
    assert runs[0] == 2
    assert (branch.state, len(branch.tokens)) == ("done", 190)


def test_cancelling_a_stream_leaves_its_branch_running(llama: Generator) -> None:
    how: dict[str, Any] = {"max_tokens": 190, "logit_bias": {0: -100, 2: -100}}
    parent = llama.stream(PROMPT, **how)
    until(lambda: parent.count > 2)
    branch = parent.branch(1, 9)
    parent.cancel()
    assert len(branch.result(20).tokens) == 190


def test_a_cancelled_branch_has_the_common_beginning(llama: Generator) -> None:
    parent = ended(llama.stream(PROMPT, max_tokens=190, logit_bias={0: -100, 2: -100}))
    branch = parent.branch(4, 9)
    until(lambda: branch.count > 2)
    branch.cancel()
    assert branch.text.startswith("".join(parent.tokens[:4]))
    with pytest.raises(StreamCancelled) as raised:
        branch.result()
    assert raised.value.partial == branch.text


def test_many_branches_from_any_thread(llama: Generator) -> None:
    parent = ended(llama.stream(PROMPT, max_tokens=24, **WARM))
    places = [(position, 50 + position) for position in range(12)]
    alone = [id_list(parent.branch(*place)) for place in places]
    made: dict[int, TokenStream] = {}

    def branch(place: int) -> None:
        made[place] = parent.branch(*places[place])

    threads = [threading.Thread(target=branch, args=(place,)) for place in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [id_list(made[place]) for place in range(len(places))] == alone
    assert len(parent.branches) == 24
    assert {each.parent for each in parent.branches} == {parent}


def test_branches_of_branches(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24))
    first = ended(root.branch(3, 9))
    second = ended(first.branch(10, 8))
    earlier = ended(second.branch(3, root.tokens[3].id))
    assert id_list(second)[:11] == [*id_list(first)[:10], 8]
    assert id_list(earlier) == id_list(root)
    assert (root.branches, first.branches, second.branches) == ([first], [second], [earlier])
    assert second.alternatives(2) is root.alternatives(2)


def test_a_branch_yields_its_own_tokens(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24))
    branch = root.branch(5, 9)
    own = list(branch)
    assert [token.position for token in own] == list(range(5, 24))
    assert own[0].id == 9
    assert own[0].logprob == pytest.approx(
        {each.id: np.log(each.probability) for each in root.alternatives(5)}.get(9, own[0].logprob),
        abs=1e-3,
    )
    assert branch.tokens == [*root.tokens[:5], *own]
    assert branch.text == branch.result() == "".join(branch.tokens)


def test_chosen_tokens_have_the_logprob_of_the_model(writer: Generator) -> None:
    root = ended(writer.stream(PROMPT, max_tokens=24))
    third = root.alternatives(5)[2]
    branch = ended(root.branch(5, third))
    assert branch.tokens[5].id == third.id
    assert branch.tokens[5].probability == pytest.approx(third.probability, rel=1e-3)
    text = ended(root.branch(5, " the door"))
    for token in text.tokens[5 : 5 + len(text._request.chosen)]:
        found = {each.id: each.probability for each in text.alternatives(token.position)}
        assert found[token.id] == pytest.approx(token.probability, rel=1e-3)


def test_by_default_the_likeliest_token_that_was_not_taken(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24))
    others = [each.id for each in root.alternatives(6) if each.id != root.tokens[6].id]
    taken = [ended(root.branch(6)).tokens[6].id for _ in range(3)]
    assert taken == others[:3]


def test_by_default_no_cut_token_is_taken(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24, temperature=1.0, top_k=2))
    assert ended(root.branch(6)).tokens[6].id != root.tokens[6].id
    with pytest.raises(InputError, match="position 6 has no other token that can be sampled"):
        root.branch(6)


def test_an_end_token_ends_a_branch(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24))
    end = min(llama._parts().folder.ends)
    result = ended(root.branch(6, end)).result()
    assert (result, result.finish_reason) == ("".join(root.tokens[:6]), "stop")
    assert result.usage.generated == 0


def test_a_branch_at_the_last_token_ends_by_length(llama: Generator) -> None:
    root = ended(llama.stream(PROMPT, max_tokens=24))
    result = ended(root.branch(23, 9)).result()
    assert (len(result.tokens), result.finish_reason) == (24, "length")


def test_a_branch_reaches_the_end_of_the_context(writer: Generator) -> None:
    ids = np.random.default_rng(0).integers(3, 300, writer.context - 12).tolist()
    root = ended(writer.stream(ids, max_tokens=100, logit_bias={0: -100, 2: -100}))
    assert root.max_tokens == len(root.tokens) == 12
    for position in (3, 11):
        assert len(ended(root.branch(position, 9)).tokens) == 12


def test_penalties_count_the_kept_and_the_chosen_tokens(llama: Generator) -> None:
    likely = dict.fromkeys(range(40, 60), 90.0)
    root = ended(llama.stream(PROMPT, max_tokens=20, presence_penalty=100, logit_bias=likely))
    branch = id_list(root.branch(10, id_list(root)[15]))
    assert len(set(branch)) == len(branch)


def test_merged_decoder_branches(tmp_path: Path) -> None:
    writer = Generator(merged_folder("gpt2", tmp_path), device="cpu", rows=2).open()
    root = ended(writer.stream(PROMPT, max_tokens=20, **WARM))
    assert id_list(root.branch(8, root.tokens[8].id)) == id_list(root)
    assert root.tokens[8].id in {each.id for each in root.alternatives(8)}
    writer.unload()


@pytest.mark.parametrize("whole", [True, False])
def test_a_branch_across_a_switch_length(tmp_path: Path, whole: bool) -> None:
    kind = "mask width" if whole else "highest position"
    path = longrope.folder(tmp_path, kind, whole=whole)
    writer = Generator(path, device="cpu", rows=4).open()
    prompt = np.random.default_rng(0).integers(0, longrope.VOCABULARY, 34).tolist()
    root = ended(writer.stream(prompt, max_tokens=20))
    for position in (2, 5, 6, 7, 15):
        kept = [*id_list(root)[:position], 9]
        right = longrope.reference(path, [*prompt, *kept], 20 - len(kept))
        assert id_list(root.branch(position, 9)) == [*kept, *right]
    assert id_list(root.branch(2, root.tokens[2].id)) == id_list(root)
    writer.unload()
