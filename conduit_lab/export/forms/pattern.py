"""The form of compiled patterns: a call to `re.compile` with the pattern and its flags."""

from __future__ import annotations

import re
from typing import Any

from conduit_lab.export.forms.form import Draft
from conduit_lab.export.forms.value import ObjectForm

_IMPLIED = re.UNICODE  # set for every str pattern


class PatternForm(ObjectForm):
    """A compiled pattern is compiled again."""

    aliased = False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call to `re.compile`, with flags by name."""
        arguments = [draft.find(value.pattern)]
        flags = re.RegexFlag(
            value.flags & ~_IMPLIED if isinstance(value.pattern, str) else value.flags
        )
        arguments += (
            [" | ".join(draft.imported("re", str(each.name)) for each in flags)] if flags else []
        )
        return f"{draft.imported('re', 'compile')}({', '.join(arguments)})"
