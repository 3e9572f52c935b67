"""Markup: what a reader of a page sees, and which lines of Markdown are headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.vectors.documents.document import read_document
from conduit_lab.vectors.documents.markup import html_text, markdown_headings
from tests.vectors.documents.test_document import make

# Code


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (
            '<pre><span>def</span> f():\n<span class="w">    </span><span>return</span> 1</pre>',
            "def f():\n    return 1",
        ),
        ("<pre>f(a: <a href=x>T</a>, b: <a>T</a>) -&gt; <a>U</a></pre>", "f(a: T, b: T) -> U"),
        (
            "<pre>\n  first\n    <b>second</b>\n\n  third\n</pre>after",
            "  first\n    second\n\n  third\n\nafter",
        ),
        ("<pre>\n\n  a</pre>", "  a"),
        ("<pre>two  <i> spaces</i>\tand a tab</pre>", "two   spaces\tand a tab"),
        ("<pre><div>a:</div><div>  b\n</div><div>  c</div></pre>", "a:\n  b\n  c"),
        ("<pre>a:<br>  b<br><br>c</pre>", "a:\n  b\n\nc"),
        ("<pre>a\r\n  b</pre>", "a\n  b"),
        ("<p>x</p><pre><code>  a</code></pre><p>y</p>", "x\n\n  a\n\ny"),
        ("<pre>a <pre>  b</pre>\n  c</pre> d   e", "a\n  b\n\n  c\n\nd e"),
        ("<div><pre>a\n  b</div> c   d", "a\n  b\n\nc d"),  # an element that nothing closes
        (
            "<table><tr><td><pre>1\n2</pre></td><td><pre>a\n  b</pre></td></tr></table>",
            "1\n2\n\na\n  b",
        ),
        ("<textarea>a\n  b</textarea>", "a\n  b"),
    ],
)
def test_preformatted_text_keeps_its_spaces(markup: str, text: str) -> None:
    assert html_text(markup).text == text


CODE = st.lists(st.sampled_from(["a", "b c", " ", "  ", "\n", "\t", "\n    "]), max_size=20).map(
    "".join
)


@given(CODE, st.lists(st.integers(0, 40), max_size=8))
def test_tags_in_code_change_nothing(code: str, places: list[int]) -> None:
    marked = list(code)
    for place in places:
        marked.insert(min(place, len(marked)), "<span class=k></span>")
    page = html_text(f"<p>x</p><pre>{''.join(marked)}</pre><p>y</p>")
    assert page.text == html_text(f"<p>x</p><pre>{code}</pre><p>y</p>").text
    assert page.text == "\n\n".join(
        ["x", *filter(str.strip, [re.sub(r"^\s*\n", "", code).rstrip()]), "y"]
    )


def test_code_knows_its_lines() -> None:
    page = html_text("<p>x</p>\n<pre>\n<b>a</b>\n\n  <i>b</i>\n</pre>\n<p>y</p>")
    lines = {page.text[at]: line for at, line in page.lines}
    assert lines == {"x": 1, "a": 3, "b": 5, "y": 7}


# What is seen


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<template><template>a</template>b</template>c", "c"),
        ("<noscript></div>a</noscript>b", "b"),
        ("<div><noscript></div>a</noscript>b</div>", "b"),
        ("<svg><svg></svg><text>a</text></svg>b", "b"),
        ("<div hidden>a<div>b</div>c</div>d", "d"),
        ("<p hidden>a<p>b", "b"),
        ("<ul><li hidden>a<li>b</ul>c", "b\n\nc"),
        ("<span style='color: red; display:none'>a</span>b", "b"),
        ("<div style='visibility: hidden'>a</div>b", "b"),
        ("<p hidden=until-found>a<p>b", "a\n\nb"),
        ("<body hidden><p>a", "a"),  # shown by a script
        ("<input hidden>a<br hidden>b", "a\nb"),
        ("<iframe>a</iframe><video>b</video>c", "c"),
        ("<math><mi>x</mi><annotation>\\x</annotation></math>", "x"),
        ("a<!-- <h1>b</h1> -->c", "ac"),
        ("a<![foo[ b ]]>c<![if gte mso 9]>d<![endif]>e<![CDATA[f]]>g<!x>h", "acdegh"),
        (
            "auto&shy;matic, caf&eacute; &amp; &#x1F600; a&nbsp;b &unknown; AT&T",
            "automatic, café & 😀 a b &unknown; AT&T",
        ),
        ("a<br>b<br/>c<br />d", "a\nb\nc\nd"),
        ("<table><caption>T<tr><th>A<th>B<tr><td>1<td>2</table>x", "T\nA\tB\n1\t2\n\nx"),
        (
            "<table><thead><tr><td>a</td> <td>b</td></tr></thead>"
            "<tbody><tr><td>c</td></tr></tbody></table>",
            "a\tb\nc",
        ),
        ("<dl><dt>a<dd>b<dt>c<dd>d</dl>", "a\nb\nc\nd"),
        ("<p>a<p>b</div></span>c", "a\n\nbc"),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "a\n\nb\n\nc"),
        ("<select><option>a<option>b</select>", "a\nb"),
        ("---\ntitle: x\n---\n<p>a", "a"),
    ],
)
def test_the_text_is_what_a_reader_sees(markup: str, text: str) -> None:
    assert html_text(markup).text == text


@pytest.mark.parametrize(
    ("markup", "headings"),
    [
        ("<!-- <h1>no</h1> --><h2>yes</h2>", ["yes"]),
        ("<pre><h2>no</h2>\n# no</pre><h2>yes</h2>", ["yes"]),
        ("<h1>one<h2>two</h2>text", ["one", "two"]),
        ("<template><h1>no</h1></template><div hidden><h2>no</h2></div><h3>yes</h3>", ["yes"]),
        ("<script>'<h1>no</h1>'</script><textarea><h1>no</h1></textarea><h1>yes", ["yes"]),
        ("<h1>a<br>b</h1><h2></h2>", ["a b"]),
    ],
)
def test_a_heading_of_a_page_is_one_that_is_seen(markup: str, headings: list[str]) -> None:
    assert [heading.text for heading in html_text(markup).headings] == headings


@pytest.mark.parametrize(
    "markup",
    [
        "<b>" * 20_000 + "</i>" * 20_000,
        "<div><svg>" + "<g>" * 20_000 + "</div>" * 20_000,
        "<div>" + "<b>" * 20_000 + "<hr>" * 20_000,
        "<p><b>" * 20_000,
    ],
)
def test_tags_without_end_are_looked_at_once(markup: str) -> None:
    assert html_text(f"{markup}end").text in (
        "end",
        "",
    )  # would take minutes if each walked over all open elements


# Markdown


@pytest.mark.parametrize(
    ("markup", "headings"),
    [
        ("<!-- # no -->\n# yes", ["yes"]),
        ("<!--\n# no\n\n## no\n-->\n# yes", ["yes"]),
        ("<pre>\n# no\n\n# no\n</pre>\n# yes", ["yes"]),
        ("<script>\n# no\n\n</script>\n# yes", ["yes"]),
        ("<style>/*\n# no\n*/</style>\n# yes", ["yes"]),
        ("<textarea>\n\n# no\n</textarea>\n# yes", ["yes"]),
        ("<div align=center>\n# no\n\n# yes", ["yes"]),
        ("text\n<details>\n# no\n</details>\n\n# yes", ["yes"]),
        ("<?php\n# no\n\n?>\n# yes", ["yes"]),
        ("<![CDATA[\n# no\n]]>\n# yes", ["yes"]),
        ('<a name="x">\n# no\n\n# yes', ["yes"]),
        ("a paragraph\n<a>\n# yes", ["yes"]),
        ("a <b> c\n# yes", ["yes"]),
        ("<https://example.org>\n# yes", ["yes"]),
        ("```html\n<!--\n```\n# yes", ["yes"]),
        ("<!--\n```\n-->\n# yes\n```\n# no", ["yes"]),
        ("~~~\n# no\n\n# no", []),
        ("    # no\n\n\t# no\n\n# yes", ["yes"]),
        ("> ```\n> # no\n> ```\n# yes", ["yes"]),
        ("- item\n  ```\n  # no\n  ```\n# yes", ["yes"]),
    ],
)
def test_a_heading_of_markdown_is_none_in_code_or_in_html(markup: str, headings: list[str]) -> None:
    assert [heading.text for heading in markdown_headings(markup)[1]] == headings
    crlf = markup.replace("\n", "\r\n")
    assert [heading.text for heading in markdown_headings(crlf)[1]] == headings


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("---\ntitle: A title # a comment\n---\n", "A title"),
        ("---\ntitle: 'It: is'\nsub:\n  title: no\n---\n", "It: is"),
        ("---\n# a comment\n\ntitle: Don't\n...\n", "Don't"),
        ('---\n"og:image": x\ntitle: "A # b"\n---\n', "A # b"),
        ("---\nLast updated: today\n\nlist:\n- one\n---\n", "Heading"),
        ("---\r\ntitle: A title\r\n---\r\n", "A title"),
        ("---\ntitle: >\n  folded\n---\n", "Heading"),
        ('+++\ntitle = "A title"\n[params]\nx = 1\n+++\n', "A title"),
        ("+++\n# a comment\n[params]\nx = 1\n+++\n", "Heading"),
    ],
)
def test_a_front_matter_is_a_title_and_no_text(tmp_path: Path, front: str, title: str) -> None:
    document = read_document(make(tmp_path, "a.md", f"{front}# Heading\n"))
    assert (document.begin, document.title) == (len(front), title)
    assert [heading.text for heading in document.headings] == ["Heading"]


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA rule, and text.\n\n---\n",
        "---\n# Heading\n---\n",
        "---\n---\n",
        "---\ntitle: open\n",
        "+++\ntext\n+++\n",
        " ---\ntitle: x\n---\n",
        "---\n- a list\n---\n",
    ],
)
def test_a_rule_is_no_front_matter(text: str) -> None:
    assert markdown_headings(text)[0] == 0


def test_a_hidden_element_without_content_hides_no_text_after_it() -> None:
    assert html_text("<p>Boil<span hidden/> slowly</p>").text == "Boil slowly"
