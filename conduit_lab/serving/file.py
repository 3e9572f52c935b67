"""File: an uploaded file, as passed to a handler."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema

OCTETS = "application/octet-stream"
FORM_TYPE = "multipart/form-data"  # the content type of a body with files
_MAX_NAME_CHARACTERS = 255
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class File:
    """An uploaded file: its name, declared content type and bytes.

    It is a part of a multipart form, or a JSON object with base64 `data`. The name is untrusted
    client input: never use it as a path.
    """

    __slots__ = ("content_type", "data", "name")

    def __init__(self, name: str, content_type: str = OCTETS, data: bytes = b"") -> None:
        self.name = name
        self.content_type = content_type
        self.data = data

    @classmethod
    def read(cls, path: str | Path) -> File:
        """Read a local file, to pass to an endpoint."""
        import mimetypes

        path = Path(path)
        return cls(path.name, mimetypes.guess_type(path.name)[0] or OCTETS, path.read_bytes())

    def to_json(self) -> dict[str, str]:
        """Return its JSON form."""
        data = base64.b64encode(self.data).decode()
        return {"name": self.name, "content_type": self.content_type, "data": data}

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.content_type!r}, {len(self.data):,} bytes)"

    def _facts(self) -> tuple[str, str, bytes]:
        return self.name, self.content_type, self.data

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Return the validator, which accepts a `File` or its JSON form."""
        from pydantic_core import core_schema

        text = core_schema.str_schema(max_length=_MAX_NAME_CHARACTERS)
        fields = {
            "name": core_schema.typed_dict_field(text, required=False),
            "content_type": core_schema.typed_dict_field(text, required=False),
            "data": core_schema.typed_dict_field(core_schema.str_schema(), required=True),
        }
        json_form = core_schema.no_info_after_validator_function(
            _from_json, core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        )
        return core_schema.no_info_wrap_validator_function(
            lambda value, inner: value if isinstance(value, File) else inner(value),
            json_form,
            metadata={"pydantic_js_functions": [lambda *_: _schema()]},
            serialization=core_schema.plain_serializer_function_ser_schema(File.to_json),
        )


def _from_json(value: dict[str, str]) -> File:
    from pydantic_core import PydanticCustomError

    try:
        data = base64.b64decode(value["data"], validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("base64", "data expects base64") from None
    return File(value.get("name", "file"), value.get("content_type", OCTETS), data)


def _schema() -> dict[str, Any]:
    name = {"type": "string", "maxLength": _MAX_NAME_CHARACTERS}
    return {
        "type": "object",
        "properties": {
            "name": name,
            "content_type": name,
            "data": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
        },
        "required": ["data"],
        "additionalProperties": False,
        "x-file": True,
    }


def is_of_file(schema: Any) -> bool:
    """Return whether a JSON Schema contains a file."""
    if isinstance(schema, Mapping):
        return "x-file" in schema or any(map(is_of_file, schema.values()))
    return isinstance(schema, list) and any(map(is_of_file, schema))
