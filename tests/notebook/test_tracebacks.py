"""Errors of a cell: the user's frames, and a box for the package's own errors."""

from __future__ import annotations

import atexit
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import IPython
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from conduit_lab.notebook.tracebacks import register_tracebacks

Run = Callable[[str], str]
SETUP = """
from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.models.registry import Models

PRICES = {"tea": 3}

def price(item):
    return PRICES[item]

quote = Function(price)
"""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    made.run_cell(SETUP)
    yield made
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()


@pytest.fixture
def shell(made: InteractiveShell) -> Iterator[InteractiveShell]:
    made.set_custom_exc((), None)
    register_tracebacks(made)
    yield made
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)  # they hold the frames


@pytest.fixture
def run(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a cell and return all that it prints."""

    def run(cell: str) -> str:
        shell.run_cell(cell)
        printed = capsys.readouterr()
        return _ANSI.sub("", printed.out + printed.err)

    return run


def test_an_own_error_shows_the_users_frames_and_its_sentence_last(run: Run) -> None:
    text = run("def pick():\n    return Models()['topic']\npick()")
    assert "conduit_lab/" not in text
    assert len(re.findall(r"-> \d+", text)) == 2
    *_, sentence, hidden = text.rstrip().splitlines()
    assert sentence == "UnknownName: no model 'topic'; there are none yet"
    assert hidden == "1 frame of conduit_lab and its libraries is hidden: %tb shows all"


def test_a_users_error_in_a_stage_keeps_its_frames_alone(run: Run) -> None:
    text = run("quote('coffee')")
    assert "conduit_lab/" not in text
    assert "return PRICES[item]" in text
    assert "KeyError: 'coffee'\n" in text


def test_a_users_error_in_a_streams_generator_keeps_its_frames_alone(run: Run) -> None:
    text = run(
        "def words():\n    yield 1\n    raise ValueError('broken')\nStream(words()).result()"
    )
    assert "conduit_lab/" not in text
    assert len(re.findall(r"-> \d+", text)) == 2


def test_a_librarys_frames_below_the_users_stay(run: Run) -> None:
    text = run("import json\nFunction(lambda text: json.loads(text))('{')")
    assert "json/decoder.py" in text
    assert "conduit_lab/" not in text


def test_a_librarys_frames_below_the_packages_are_hidden(run: Run) -> None:
    text = run("import json\nFunction(json.loads)('{')")
    assert "JSONDecodeError: Expecting" in text
    assert "json/decoder.py" not in text


def test_the_context_of_an_error_stays_one(run: Run) -> None:
    run("try:\n    quote('coffee')\nexcept KeyError:\n    quote('milk')")
    text = run("%tb")
    assert "During handling" in text
    assert text.count("conduit_lab/core/stage.py") >= 2


def test_an_awaited_stage_is_shown_the_same_way(run: Run) -> None:
    text = run("await quote.acall('coffee')")
    assert "conduit_lab/" not in text
    assert "return PRICES[item]" in text


def test_tb_and_the_debugger_have_every_frame(run: Run, shell: InteractiveShell) -> None:
    run("quote('coffee')")
    assert "conduit_lab/core/stage.py" in run("%tb")
    frame, files = shell.InteractiveTB.tb, []
    while frame is not None:
        files.append(frame.tb_frame.f_code.co_filename)
        frame = frame.tb_next
    assert any("conduit_lab" in file for file in files)


def test_the_error_itself_is_as_it_was(run: Run) -> None:
    text = run("try:\n    quote('coffee')\nexcept KeyError as error:\n    error.add_note('mine')")
    text = run(
        "try:\n    quote('coffee')\nexcept KeyError as e:\n    raise OSError('outer') from e"
    )
    assert "direct cause" in text
    assert "conduit_lab/" not in text
    error = sys.last_value
    assert error is not None
    assert not hasattr(error, "__notes__")
    assert error.__suppress_context__
    assert isinstance(error.__cause__, KeyError)
    assert error.__traceback__ is sys.last_traceback


def test_notes_stay_before_the_line_of_hidden_frames(run: Run) -> None:
    text = run("try:\n    quote('x')\nexcept KeyError as e:\n    e.add_note('a note')\n    raise")
    assert text.rstrip().splitlines()[-2] == "a note"


def test_a_cause_within_the_package_is_hidden_and_one_of_the_user_is_not(
    run: Run, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x")
    text = run(f"from conduit_lab import load_model\nload_model({str(broken)!r})")
    assert "direct cause" not in text
    assert "not a valid ONNX model" in text
    assert isinstance(sys.last_value, Exception)
    assert sys.last_value.__cause__ is not None
    text = run("try:\n    price('x')\nexcept KeyError:\n    Models()['topic']")
    assert "During handling" in text


def test_a_group_is_shown_without_the_packages_frames(run: Run) -> None:
    text = run(
        "def words():\n    yield 1\n    raise ExceptionGroup('many', [ValueError('a')])\n"
        "Stream(words()).result()"
    )
    assert "ExceptionGroup: many (1 sub-exception)" in text
    assert "conduit_lab/" not in text
    assert "traceback.print_exception(sys.last_value) shows all" in text


def test_errors_without_the_package_are_those_of_ipython(run: Run) -> None:
    assert "hidden" not in run("price('x')")
    assert "SyntaxError" in run("x = = 3")
    assert "SyntaxError" in run("exec('x = = 3')")
    assert "hidden" in run("quote('x')")


def test_an_interrupted_wait_shows_the_users_frame_alone(run: Run) -> None:
    text = run("def stop(value):\n    raise KeyboardInterrupt\nFunction(stop)(1)")
    assert "KeyboardInterrupt" in text
    assert "conduit_lab/" not in text


def test_a_message_that_raises_leaves_the_handler_in_place(
    run: Run, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(kind: Any, error: BaseException, lines: list[str]) -> None:
        sys.stdout.write("\n".join([str(error), *lines]))  # as the kernel does

    monkeypatch.setattr(shell, "_showtraceback", send)
    run("class Bad(Exception):\n    def __str__(self):\n        raise TypeError")
    text = run("def fail(value):\n    raise Bad\nFunction(fail)(1)")
    assert "unregistering" not in text
    assert "hidden" in run("quote('x')")


def test_the_extension_registers_it(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.set_custom_exc((), None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    shell.extension_manager.load_extension("conduit_lab")
    assert shell.custom_exceptions == (Exception, KeyboardInterrupt)
    shell.extension_manager.loaded.remove("conduit_lab")


def test_another_tools_handler_stays(shell: InteractiveShell) -> None:
    shell.set_custom_exc((KeyError,), lambda *_, **__: None)
    register_tracebacks(shell)
    assert shell.custom_exceptions == (KeyError,)


def test_the_notebook_shows_a_box_and_the_output_stays_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(place, str(tmp_path / place.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "topic.onnx").touch()
    cells = [
        "from conduit_lab import Lab\nlab = Lab('errors', root='.')",
        "topic = lab.load_model('topik.onnx')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})

    with pytest.raises(CellExecutionError, match=r"no model at topik\.onnx"):
        client.execute()

    box, error = notebook.cells[1].outputs
    assert box.data["text/plain"] == (
        "ModelLoadError: no model at topik.onnx. Did you mean 'topic.onnx'?"
    )
    assert "topic = lab.load_model(&#x27;topic.onnx&#x27;)</pre>" in box.data["text/html"]
    assert "conduit_lab/models/load.py:" in box.data["text/html"]
    assert str(Path(__file__).parents[2]) not in box.data["text/html"]
    assert (error.output_type, error.ename) == ("error", "ModelLoadError")
    assert "conduit_lab/" not in "\n".join(error.traceback)
