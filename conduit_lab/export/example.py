"""Example: one recorded call, and the comparison of two answers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from conduit_lab.core.streams.chunk import chunk_json
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving import codec
from conduit_lab.serving.endpoint import Call, Endpoint

RELATIVE = 1e-4
ABSOLUTE = 1e-5
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass
class Example:
    """One call that was tried: what was asked, what came back, and what it touched.

    `answer` is a JSON value, for a stream the list of its chunks; `size` is the bytes of payload
    and answer as JSON. `writes` says that the call changed a store, `shared` that this one is on a
    server, where no replay may write; `stores` holds each store it read with its version then,
    `files` the model files it loaded.
    """

    method: str
    path: str
    shape: str
    payload: Any
    answer: Any
    writes: bool = False
    shared: bool = False
    path_params: dict[str, Any] = field(default_factory=dict)
    stores: list[tuple[Any, int]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    size: int = 0

    @classmethod
    def of(cls, endpoint: Endpoint, call: Call, result: Any) -> Example | None:
        """Return the example of a finished call; None for a stream that did not end well, or what has no JSON form."""
        streamed = isinstance(result, Stream)
        if streamed and (result.state != "done" or result.count != len(result.kept)):
            return None
        try:
            asked = codec.dumps([call.payload, call.path_params])
            answered = codec.dumps([*map(chunk_json, result.kept)] if streamed else result)
        except TypeError:
            return None
        payload, path_params = codec.loads(asked)
        uses = [] if call.trace is None else call.trace.uses
        written = [target for kind, target in uses if kind == "write"]
        touched = {id(target): target for kind, target in uses if kind != "load"}
        return cls(
            endpoint.method,
            endpoint.path,
            endpoint.shape,
            payload,
            codec.loads(answered),
            writes=bool(written),
            shared=any(getattr(store, "url", None) is not None for store in written),
            path_params=path_params,
            stores=[(store, store.version) for store in touched.values()],
            files=[target.path for kind, target in uses if kind == "load"],
            size=len(asked) + len(answered),
        )

    @property
    def request(self) -> tuple[str, str, str]:
        """What tells two examples apart: method, target and payload."""
        return self.method, self.target, json.dumps(self.payload, sort_keys=True)

    @property
    def target(self) -> str:
        """The path with its parameters filled in, and for a GET the query."""
        path = _PARAMETER.sub(
            lambda found: quote(str(self.path_params.get(found[1], found[0])), "/"), self.path
        )
        query = urlencode(self.payload or {}, doseq=True) if self.method == "GET" else ""
        return f"{path}?{query}" if query else path

    @property
    def stale(self) -> bool:
        """Whether a store that it read has changed since."""
        return any(store.version != version for store, version in self.stores)

    def to_json(self) -> str:
        """Return the line that `examples.jsonl` keeps."""
        record = asdict(replace(self, stores=[], files=[]))
        del record["stores"], record["files"], record["size"]
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Example:
        """Return the example of one line of `examples.jsonl`."""
        return cls(**json.loads(line))


def difference(wanted: Any, got: Any, where: str = "answer") -> str | None:
    """Return the first place where two JSON values differ, or None.

    Text, booleans and integers must be equal, other numbers close: |a - b| ≤ 1e-5 + 1e-4 · |a|.
    """
    if isinstance(wanted, dict) and isinstance(got, dict):
        if wanted.keys() != got.keys():
            return f"{where} has the keys {sorted(got)}, not {sorted(wanted)}"
        return _first(difference(wanted[key], got[key], f"{where}.{key}") for key in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        if len(wanted) != len(got):
            return f"{where} has {len(got)} items, not {len(wanted)}"
        return _first(
            difference(w, g, f"{where}[{i}]")
            for i, (w, g) in enumerate(zip(wanted, got, strict=True))
        )
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in (wanted, got)
    )
    if numbers and (isinstance(wanted, float) or isinstance(got, float)):
        same = math.isclose(wanted, got, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    else:
        same = type(wanted) is type(got) and wanted == got
    return None if same else f"{where} is {json.dumps(got)[:80]}, not {json.dumps(wanted)[:80]}"


def _first(found: Any) -> str | None:
    return next((item for item in found if item is not None), None)
