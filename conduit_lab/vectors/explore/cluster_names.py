"""Names of clusters: their distinguishing metadata or characteristic words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conduit_lab.core.quotation import stem, without_marks
from conduit_lab.core.text import one_line

NAMED_TEXTS = 160  # per cluster, whose words are counted
_TEXT_CHARACTERS = 1_500
_WORDS = 3
_MIN_SHARE = 0.75  # of a cluster's entries with the value that names it
_MAX_SPREAD = 0.5  # of all entries: a value that most entries share does not distinguish
_VALUE_ENTRIES = 400  # per cluster, whose metadata is compared
_NAME_CHARACTERS = 40

# Letters only: a part number or a year is not a useful name.
_WORD = re.compile(r"[^\W\d_]{3,24}")


def cluster_names(
    texts: Sequence[Sequence[str]], metadatas: Sequence[Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Return a distinct name for each cluster, from some of its texts and metadata.

    The name is a text value that three of four entries share but most of the store does not; if two
    clusters share it, a word is added. Otherwise the name is the three words with the highest
    class-based TF-IDF: their share in the cluster's texts, times the log of their rarity across
    clusters.
    """
    words = _own_words(texts)
    values = _own_values(metadatas)
    shared = Counter(value for value in values if value)
    names: list[str] = []
    for place, (value, own) in enumerate(zip(values, words, strict=True)):
        if value and shared[value] > 1 and own:
            name = f"{value} · {own[0]}"
        else:
            name = value or " · ".join(own) or f"cluster {place + 1}"
        names.append(f"{name} ({place + 1})" if name in names else name)
    return names


def _own_words(texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the characteristic words of each cluster, in their most frequent form."""
    stems: dict[str, str] = {}
    forms: dict[str, Counter[str]] = {}
    shares: list[dict[str, float]] = []
    for cluster in texts:
        held: Counter[str] = Counter()
        for text in cluster:
            found = Counter(map(str.lower, _WORD.findall(without_marks(text[:_TEXT_CHARACTERS]))))
            own = set()
            for word, times in found.items():
                root = stems.get(word)
                if root is None:
                    root = stems[word] = stem(word)
                if root:
                    own.add(root)
                    forms.setdefault(root, Counter())[word] += times
            held.update(own)
        least = 2 if len(cluster) > 2 else 1
        shares.append({root: n / len(cluster) for root, n in held.items() if n >= least})
    overall: Counter[str] = Counter()
    for share in shares:
        overall.update(share)
    chosen = []
    for share in shares:
        weight = {
            root: part * np.log(1 + len(shares) * part / overall[root])
            - (part * np.log(2) if len(shares) > 1 else 0)
            for root, part in share.items()
        }
        best = sorted(weight, key=lambda root: (-weight[root], root))[:_WORDS]
        chosen.append([forms[root].most_common(1)[0][0] for root in best if weight[root] > 0])
    return chosen


def _own_values(metadatas: Sequence[Sequence[Mapping[str, Any]]]) -> list[str | None]:
    """Return per cluster the text value that most of its entries but few others have."""
    counts: list[Counter[tuple[str, str]]] = []
    for cluster in metadatas:
        held: Counter[tuple[str, str]] = Counter()
        for metadata in cluster[:_VALUE_ENTRIES]:
            held.update(
                (key, value)
                for key, value in metadata.items()
                if isinstance(value, str) and 0 < len(value) <= _NAME_CHARACTERS
            )
        counts.append(held)
    sizes = [min(_VALUE_ENTRIES, len(cluster)) for cluster in metadatas]
    names: list[str | None] = []
    for held, size in zip(counts, sizes, strict=True):
        name = None
        for pair, times in held.most_common(8):
            spread = sum(other[pair] for other in counts) / max(1, sum(sizes))
            if times >= _MIN_SHARE * size and spread <= _MAX_SPREAD:
                name = one_line(pair[1], _NAME_CHARACTERS)
                break
        names.append(name)
    return names
