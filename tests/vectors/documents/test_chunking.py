from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semantic_text_splitter import TextSplitter

from conduit_lab.core.errors import InputError
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.vectors.documents import chunking
from conduit_lab.vectors.documents.chunking import (
    MAX_CHARACTERS_PER_TOKEN,
    WINDOW_CHARACTERS,
    Chunk,
    Chunker,
)
from conduit_lab.vectors.documents.document import Document
from conduit_lab.vectors.documents.markup import html_text, markdown_headings

MARKS = [
    "# One\n",
    "## Two\n",
    "### Three ###\n",
    "Set\n===\n",
    "```\n",
    "~~~\n",
    "- item\n",
    "> quote\n",
    "| a | b |\n",
]
WORDS = [
    "A sentence. ",
    "Two words! ",
    "word",
    "é",
    "🏳️‍🌈",
    "e\u0301",
    "x" * 70,
    "**b**",
    "[l](u)",
    "&amp;",
    "    code\n",
]
SPACES = [
    " ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\u2028",
    "\ufeff",
    "\x0c",
    "---\n",
    "<p>",
    "<pre>",
    "<h2>",
    "</h2>",
    "\\",
]
PIECES = st.sampled_from([*MARKS, *WORDS, *SPACES])
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=60).map("".join))


def words(text: str) -> int:
    """A tokenizer: two special tokens, and one token per word."""
    return 2 + len(text.split())


def markdown(text: str) -> Document:
    begin, headings = markdown_headings(text)
    return Document("a.md", text, "markdown", "A", begin, headings)


def html(markup: str) -> Document:
    page = html_text(markup)
    return Document("a.html", page.text, "html", page.title, 0, page.headings, (), page.lines)


@pytest.mark.parametrize("kind", ["text", "markdown", "html"])
@given(
    text=TEXTS,
    size=st.integers(4, 60),
    overlap=st.integers(0, 3),
    length=st.sampled_from([None, words]),
)
def test_chunks_are_exact_pieces_in_order_that_lose_only_spaces(
    kind: str, text: str, size: int, overlap: int, length: None
) -> None:
    document = {"text": lambda text: Document("a.txt", text), "markdown": markdown, "html": html}[
        kind
    ](text)
    chunks = Chunker(size, overlap=overlap, length=length).chunks(document)
    at = document.begin
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert not document.text[at : chunk.start].strip()
        at = max(at, chunk.end)
    assert not document.text[at:].strip()
    assert [(chunk.start, chunk.end) for chunk in chunks] == sorted(
        (chunk.start, chunk.end) for chunk in chunks
    )


@given(
    st.lists(
        st.sampled_from(["word ", "another ", "A sentence. ", "\n\n", "# Heading\n", "- item\n"]),
        max_size=80,
    )
)
def test_no_chunk_is_longer_than_the_size(parts: list[str]) -> None:
    document = markdown("".join(parts))
    assert all(words(chunk.text) <= 12 for chunk in Chunker(12, length=words).chunks(document))
    assert all(len(chunk.text) <= 40 for chunk in Chunker(40).chunks(document))


def test_a_chunk_knows_its_section_and_line() -> None:
    text = (
        "# Refunds\n\nIntro.\n\n## By card\n\nThree days.\n\n### Late\n\nCall.\n\n"
        "## By bank\n\nA week.\n"
    )
    document = markdown(text)
    document = Document(
        "a.md", text, "markdown", "A", 0, document.headings, lines=((0, 1), (27, 5), (31, 7))
    )
    assert [
        (chunk.heading, chunk.text.splitlines()[-1]) for chunk in Chunker().chunks(document)
    ] == [
        ("Refunds", "Intro."),
        ("Refunds > By card", "Three days."),
        ("Refunds > By card > Late", "Call."),
        ("Refunds > By bank", "A week."),
    ]
    assert Chunker().chunks(document)[0] == Chunk("# Refunds\n\nIntro.", 0, 17, 1, None, "Refunds")


def test_a_section_without_text_goes_with_the_next() -> None:
    chunks = Chunker().chunks(markdown("Title\n=====\n\n## Part\n\nText.\n\n## Empty\n"))
    assert [(chunk.text, chunk.heading) for chunk in chunks] == [
        ("Title\n=====\n\n## Part\n\nText.", "Title > Part"),
        ("## Empty", "Title > Empty"),
    ]


def test_what_stands_before_the_first_heading_has_none() -> None:
    assert [chunk.heading for chunk in Chunker().chunks(markdown("Hello.\n\n# One\n\nText."))] == [
        "",
        "One",
    ]


def test_a_front_matter_is_in_no_chunk() -> None:
    chunks = Chunker().chunks(markdown("---\ntitle: x\n---\nText."))
    assert [(chunk.text, chunk.start) for chunk in chunks] == [("Text.", 17)]


def test_html_is_cut_at_its_headings() -> None:
    chunks = Chunker().chunks(html("<h1>One</h1><p>a</p>\n<h2>Two</h2>\n<p>b # c"))
    assert [(chunk.heading, chunk.text, chunk.line) for chunk in chunks] == [
        ("One", "One\n\na", 1),
        ("One > Two", "Two\n\nb # c", 2),
    ]


def test_a_chunk_of_a_pdf_knows_the_page_it_starts_on() -> None:
    document = Document("a.pdf", "One. Two.\n\nThree. Four.", "pdf", pages=(0, 11))
    assert [(chunk.text, chunk.page) for chunk in Chunker(10).chunks(document)] == [
        ("One. Two.", 1),
        ("Three.", 2),
        ("Four.", 2),
    ]


def test_an_overlap_comes_again() -> None:
    text = " ".join(f"word{n}" for n in range(30))
    chunks = Chunker(10, overlap=4, length=words).chunks(Document("a.txt", text))
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_a_word_without_end_is_cut_though_it_is_one_token() -> None:
    chunks = Chunker(10, length=words).chunks(Document("a.txt", "x" * 1000))
    assert max(len(chunk.text) for chunk in chunks) < 11 * MAX_CHARACTERS_PER_TOKEN
    assert "".join(chunk.text for chunk in chunks) == "x" * 1000


STRETCHES = {
    "words": "word ",
    "letters": "iVBORw0KGgoAAAANSUhEUgAA",
    "Chinese": "你好世界",
    "sentences": "A sentence of words. ",
    "JSON": '{"a":[1,2.5],"b":"text"},',
    "lines": "a short line\n",
    "Windows lines": "a short line\r\n",
    "paragraphs": "A paragraph.\n\n",
    "list": "- an item of *it*\n",
}


@pytest.mark.parametrize("kind", ["text", "markdown", "html"])
@pytest.mark.parametrize("name", STRETCHES)
def test_the_cost_of_a_chunk_does_not_grow_with_the_text(kind: str, name: str) -> None:
    counted = dict[int, int]()
    for size in (30_000, 120_000):
        text = (STRETCHES[name] * size)[:size] + "\n\n\nend\n"
        counted[size] = 0

        def length(piece: str, size: int = size) -> int:
            counted[size] += len(piece)
            return len(piece) // 4

        chunks = Chunker(50, length=length).chunks(Document("a", text, kind))
        assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(text.split())
        assert max(len(chunk.text) // 4 for chunk in chunks) <= 50
        assert (
            sum(len(chunk.text) for chunk in chunks) / len(chunks) > 50
        )  # the end of a window leaves no tiny chunks
    assert counted[120_000] < 5 * counted[30_000]


class Spy:
    """A splitter that remembers the length of its longest text."""

    longest = 0

    def __init__(self, size: int, overlap: int) -> None:
        self.real = TextSplitter(size, overlap)

    def chunk_indices(self, text: str) -> list[tuple[int, str]]:
        Spy.longest = max(Spy.longest, len(text))
        return self.real.chunk_indices(text)


@pytest.mark.parametrize("name", STRETCHES)
def test_the_splitter_never_gets_more_than_a_window(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "semantic_text_splitter.TextSplitter", Spy
    )  # it defers an interrupt until it is finished
    monkeypatch.setattr(Spy, "longest", 0)
    Chunker(100).chunks(Document("a.txt", STRETCHES[name] * 5_000))
    assert Spy.longest == 100 * WINDOW_CHARACTERS


@given(st.lists(st.sampled_from([*STRETCHES.values(), "\n\n\n", " " * 50, "x" * 90]), max_size=40))
def test_a_window_changes_no_chunk(parts: list[str]) -> None:
    document = Document("a.txt", "".join(parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "WINDOW_CHARACTERS", 10**6)
        whole = Chunker(12).chunks(document)
        patch.setattr(chunking, "WINDOW_CHARACTERS", 8)
        assert Chunker(12).chunks(document) == whole


def test_no_tokens_are_counted_of_a_text_that_is_surely_too_long() -> None:
    longest = 0

    def length(text: str) -> int:
        nonlocal longest
        longest = max(longest, len(text))
        return len(text) // 4

    Chunker(50, length=length).chunks(Document("a.txt", ("word " * 200 + "\n") * 50))
    assert longest < 51 * MAX_CHARACTERS_PER_TOKEN


def test_spaces_alone_are_passed_over() -> None:
    text = " " * 100_000 + "a" + "\n" * 100_000 + "b" + " " * 100_000
    assert [(chunk.text, chunk.start) for chunk in Chunker(10).chunks(Document("a.txt", text))] == [
        ("a", 100_000),
        ("b", 200_001),
    ]


def test_an_interrupt_is_heard_while_tokens_are_counted() -> None:
    def length(text: str) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Chunker(10, length=length).chunks(Document("a.txt", "word " * 1_000))


def test_a_control_character_is_no_chunk() -> None:
    assert [chunk.text for chunk in Chunker(4).chunks(Document("a.txt", "word \x1f"))] == ["word"]


def test_a_deep_markdown_is_cut() -> None:
    text = ">" * 20_000 + "a" + "\n" + "[" * 20_000 + "\n" + "- " * 5_000 + "b"
    assert Chunker(1000).chunks(markdown(text))


def test_the_chunks_of_a_real_embedder_are_read_to_their_end(minilm: Embedder) -> None:
    text = re.sub(
        r"(\w+)", r"\1 Schifffahrtsgesellschaft 😀", "The quick brown fox jumps over it. " * 60
    )
    chunks = Chunker(64, length=minilm.count_tokens).chunks(Document("a.txt", text))
    lengths = [minilm.count_tokens(chunk.text) for chunk in chunks]
    assert max(lengths) <= 64
    assert sum(lengths) / len(lengths) > 32


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (0, 0, "a chunk's size is a whole number of at least 1, got 0"),
        ("9", 0, "a chunk's size is a whole number of at least 1, got '9'"),
        (True, 0, "a chunk's size is a whole number of at least 1, got True"),
        (9, -1, "a chunk's overlap is a whole number of at least 0, got -1"),
        (9, 9, "an overlap of 9 leaves no room in chunks of 9: make it smaller"),
    ],
)
def test_a_size_that_cannot_be_is_refused(size: int, overlap: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Chunker(size, overlap=overlap)


def test_a_missing_splitter_names_its_extra() -> None:
    code = (
        "import sys; sys.modules['semantic_text_splitter'] = None\n"
        "from conduit_lab.vectors.documents.chunking import Chunker\n"
        "from conduit_lab.vectors.documents.document import Document\n"
        "Chunker().chunks(Document('a.txt', 'x'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (
        "MissingExtra: cutting documents into chunks needs semantic-text-splitter" in result.stderr
    )
    assert "conduit-lab[documents]" in result.stderr
