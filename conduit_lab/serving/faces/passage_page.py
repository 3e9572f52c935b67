"""The page of a cited passage: a self-contained HTML file that highlights the cited span."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

from conduit_lab.core.text import clip
from conduit_lab.vectors.found_card import heading_of, metadata_facts

if TYPE_CHECKING:
    from conduit_lab.vectors.entry import Entry

_MAX_PASSAGE_CHARACTERS = 500_000
_MAX_FACTS = 6
_STYLE = """
:root { color-scheme: light dark; }
body { background: Canvas; color: CanvasText; font: 15px/24px system-ui, sans-serif;
  margin: 0 auto; max-width: 720px; padding: 24px 16px; overflow-wrap: anywhere; }
h1 { font-size: 18px; line-height: 24px; margin: 0 0 4px; }
p { color: light-dark(#595959, #a6a6a6); font-size: 13px; line-height: 20px; margin: 0 0 16px;
  font-variant-numeric: tabular-nums; }
pre { border-top: 1px solid rgba(128,128,128,.35); font: inherit; margin: 0; padding-top: 16px;
  white-space: pre-wrap; }
mark { background: light-dark(#cfe3f1, #123f5c); color: inherit; padding: 2px 0;
  scroll-margin: 40vh; }
"""
# Offsets count characters, but JavaScript strings are indexed by UTF-16 code units.
_SCRIPT = """
function show() {
  const pre = document.querySelector("pre");
  const characters = Array.from(pre.textContent);
  const found = /^#(\\d{1,9})-(\\d{1,9})$/.exec(location.hash);
  const start = found ? Number(found[1]) : 0;
  const end = found ? Math.min(Number(found[2]), characters.length) : 0;
  const part = (from, to) => document.createTextNode(characters.slice(from, to).join(""));
  if (start >= end || (start === 0 && end === characters.length)) {
    pre.replaceChildren(part(0));
    return;
  }
  const mark = document.createElement("mark");
  mark.append(part(start, end));
  pre.replaceChildren(part(0, start), mark, part(end));
  mark.scrollIntoView();
}
addEventListener("hashchange", show);
show();
"""


def _source_hash(inline: str) -> str:
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; style-src {_source_hash(_STYLE)}; script-src {_source_hash(_SCRIPT)}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def passage_page(store: str, entry: Entry) -> bytes:
    """Return the page of an entry of `store`; the URL fragment `#start-end` highlights a span."""
    title = heading_of(entry.metadata) or entry.id
    facts = [store, *metadata_facts(_own(entry.metadata), "")]
    text = clip(entry.content or "", _MAX_PASSAGE_CHARACTERS)
    # browsers drop a leading line break in <pre>
    return _page(title, " · ".join(facts), f"<pre>\n{escape(text)}</pre><script>{_SCRIPT}</script>")


def missing_page() -> bytes:
    """Return the page for a missing passage."""
    return _page("Passage not found", "It has been changed or removed since it was cited.", "")


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first scalar metadata values."""
    flat = [each for each in metadata.items() if not isinstance(each[1], dict | list)]
    return dict(flat[:_MAX_FACTS])


def _page(title: str, facts: str, body: str) -> bytes:
    return (
        "<!doctype html>"
        f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>{escape(facts)}</p>{body}</html>"
    ).encode("utf-8", "replace")
