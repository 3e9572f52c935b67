"""ControlTokens: encode prompts as token ids; data that spells a control token becomes text."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np

from conduit_lab.models.generation.tainted import taint_of

_UNTAINTED = re.compile(rb"\0+")


class ControlTokens:
    """Encodes prompts with a `tokenizers.Tokenizer`, its `backend`.

    The tokenizer finds its added tokens in any text. In a `TaintedStr` they are recognized only if
    no character is tainted; other occurrences are encoded as plain text. A text without tainted
    occurrences gets the tokenizer's own ids.

    Control tokens are all special tokens, and added tokens that are neither words nor whitespace:
    Qwen's `<think>` is one, Phi-2's runs of spaces are not.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        control = {
            id: token for id, token in added.items() if token.special or _is_markup(token.content)
        }
        self._contents = {id: token.content for id, token in control.items() if token.content}
        self._is_control = np.zeros(max(self._contents, default=0) + 1, np.bool_)
        self._is_control[list(self._contents)] = True
        self._renamed: tuple[Any, dict[int, str], dict[int, int]] | None = None

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of a text; `special` adds the tokenizer's special tokens."""
        # a lone surrogate is valid in a JSON string but not in UTF-8: it becomes a question mark
        clean = text.encode("utf-8", "replace").decode()
        taint = taint_of(text)
        encoding = self._backend.encode(clean, add_special_tokens=special)
        found = set(self._found(encoding, clean)) if 1 in taint else set()
        spelled = bytearray(len(clean))  # 1 for control tokens with a tainted character
        for _, begin, end in found:
            if 1 in taint[begin:end]:
                spelled[begin:end] = b"\1" * (end - begin)
        if 1 not in spelled:
            return list(encoding.ids)
        backend, names, real = self._renamed or self._rename()
        parts: list[str] = []
        done = 0
        for id, begin, end in self._found_in_template(clean, taint):
            if (id, begin, end) not in found and 1 not in spelled[begin:end]:
                continue  # a token allowed only at the start of a text, which this is not
            parts += [clean[done:begin], names[id]]
            done = end
        ids = backend.encode("".join([*parts, clean[done:]]), add_special_tokens=special).ids
        return [real.get(id, id) for id in ids]

    def _found(self, encoding: Any, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield (id, begin, end) of the control tokens, without the whitespace they absorb."""
        ids = np.asarray(encoding.ids, np.int64)
        last = len(self._is_control) - 1
        places = np.flatnonzero((ids <= last) & self._is_control[np.minimum(ids, last)])
        offsets = encoding.offsets if places.size else ()
        for place in places.tolist():
            begin, end = offsets[place]
            if begin == end:  # added by the tokenizer
                continue
            id, content = int(ids[place]), self._contents[int(ids[place])]
            at = text.find(content, begin, end)
            if at < 0:  # another spelling, equal after normalization
                inner = text[begin:end]
                yield id, begin + len(inner) - len(inner.lstrip()), begin + len(inner.rstrip())
            else:
                yield id, at, at + len(content)

    def _found_in_template(self, text: str, taint: bytes) -> Iterator[tuple[int, int, int]]:
        """Yield (id, begin, end) of the control tokens in the untainted parts of a text."""
        for part in _UNTAINTED.finditer(taint):
            inner = text[part.start() : part.end()]
            encoding = self._backend.encode(inner, add_special_tokens=False)
            for id, begin, end in self._found(encoding, inner):
                yield id, part.start() + begin, part.start() + end

    def _rename(self) -> tuple[Any, dict[int, str], dict[int, int]]:
        """Build a tokenizer whose control tokens have unguessable names.

        It tokenizes like the original, but has no other spelling of a control token, either as an
        added token or as a vocabulary entry.
        """
        state = json.loads(self._backend.to_str())
        nonce = secrets.token_hex(8)
        names = {id: f"zq{nonce}{id:08x}qz" for id in self._contents}
        spelled = {content: names[id] for id, content in self._contents.items()}
        for token in state["added_tokens"]:
            token["content"] = spelled.get(token["content"], token["content"])
        model = state["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            model["vocab"] = {spelled.get(token, token): id for token, id in vocabulary.items()}
        else:
            model["vocab"] = [[spelled.get(token, token), score] for token, score in vocabulary]
        if isinstance(model.get("unk_token"), str):
            model["unk_token"] = spelled.get(model["unk_token"], model["unk_token"])
        if "merges" in model:
            pairs = (
                (merge, merge.split(" ") if isinstance(merge, str) else merge)
                for merge in model["merges"]
            )
            model["merges"] = [
                merge for merge, pair in pairs if not {*pair, "".join(pair)}.intersection(spelled)
            ]
        backend = type(self._backend).from_str(json.dumps(state))
        ids = {backend.token_to_id(name): id for id, name in names.items()}
        real = {renamed: id for renamed, id in ids.items() if renamed != id}
        self._renamed = (backend, names, real)
        return self._renamed


def _is_markup(content: str) -> bool:
    """Return whether an added token is more than a word or whitespace."""
    return not all(each.isalnum() or each.isspace() or each in "▁_'-" for each in content)
