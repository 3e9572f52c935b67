"""%%stream: a cell's text as the prompt of a generator."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from conduit_lab.core.errors import InputError
from conduit_lab.core.keywords import with_keywords_of
from conduit_lab.core.stage import Function
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.notebook.magics import register_magics, stream_cell


class Writer:
    """Keeps the prompt and the options that it got."""

    @with_keywords_of(SamplingOptions)
    def stream(self, prompt: Any = None, *, query: str | None = None, **options: Any) -> Any:
        return prompt, options


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    register_magics(shell)
    register_magics(shell)
    shell.user_ns |= {"writer": Writer(), "number": 3, "length": Function(len)}
    yield shell
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()


def started(line: str, cell: str = "Once\n", **names: Any) -> Any:
    return stream_cell(line, cell, {"writer": Writer(), "number": 3, **names})


def test_the_text_of_the_cell_is_the_prompt(shell: InteractiveShell) -> None:
    shell.run_cell("%%stream writer --max-tokens 64\n  Once\n\nupon {a} $time\n")
    shell.run_cell("kept = _")
    assert shell.user_ns["kept"] == ("  Once\n\nupon {a} $time", {"max_tokens": 64})


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("writer", {}),
        ("writer --temperature=0.8 --seed 7", {"temperature": 0.8, "seed": 7}),
        ("writer --stop 'the end' --top_p .5", {"stop": "the end", "top_p": 0.5}),
        ('writer --stop \'["a", "b"]\'', {"stop": ["a", "b"]}),
    ],
)
def test_options_are_keywords(line: str, options: dict[str, Any]) -> None:
    assert started(line) == ("Once", options)


def test_with_chat_the_text_is_a_message() -> None:
    prompt, options = started("writer --chat --seed 1")
    assert (prompt, options) == ([{"role": "user", "content": "Once"}], {"seed": 1})


def test_a_generator_may_be_an_attribute() -> None:
    class Held:
        writer = Writer()

    assert started("held.writer", held=Held()) == ("Once", {})


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("", "x", "expects the name of a generator, got nothing: %%stream writer"),
        ("writr", "x", "got 'writr'. Did you mean 'writer'?"),
        ("number", "x", "got 'number' of the type int"),
        ("writer", " \n", "expects a prompt below its line, got an empty cell"),
        ("writer --max-token 3", "x", "got '--max-token'. Did you mean '--max-tokens'?"),
        ("writer Once", "x", "expects options such as --max-tokens 64, got 'Once'"),
        ("writer --seed", "x", "expects a value after --seed"),
        ("writer --stop 'a", "x", "No closing quotation"),
    ],
)
def test_a_wrong_line_is_an_error_that_says_what_to_write(line: str, cell: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        started(line, cell)
    assert words in str(raised.value)


def completed(shell: InteractiveShell, text: str) -> set[str]:
    with provisionalcompleter():
        return {each.text for each in shell.Completer.completions(text, len(text))}


def test_tab_offers_what_streams(shell: InteractiveShell) -> None:
    offered = completed(shell, "%%stream wr")
    assert "writer" in offered
    assert not offered & {"number", "length"}


def test_tab_offers_the_options_that_are_left(shell: InteractiveShell) -> None:
    offered = completed(shell, "%%stream writer --seed 3 --")
    assert {"--max-tokens", "--temperature", "--chat"} <= offered
    assert "--seed" not in offered
