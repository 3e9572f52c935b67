"""Secret names: those of parameters, variables and fields whose values are secrets."""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"(api_?key|secret|secret_?key|passw(or)?d|passphrase|pwd|token|credential|access_?key"
    r"|private_?key|auth_?key|client_?secret|bearer)s?$",
    re.IGNORECASE,
)
# names that tokenizers and generators use, and names of counts
_PLAIN_NAME = re.compile(
    r"((special|stop|bos|eos|pad|unk|mask|sep|cls|start|end|begin|added|extra|first|last|next|max"
    r"|min|num|prompt|image|new|generated|total|count|chat|additional_special)"
    r"_?(of_\w+_)?tokens?|tokens?_per_\w+)$",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Return whether a value of this name is a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)
