"""form_fields: the strings and files of a multipart form (RFC 7578)."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from conduit_lab.core.errors import InputError
from conduit_lab.serving.file import OCTETS, File

MAX_FORM_PARTS = 1000
_MAX_HEADER_BYTES = 2048  # of one part
_MAX_NAME_CHARACTERS = 255


class FormFields(dict[str, Any]):
    """The fields of a form: a string or `File` each, or a list for a repeated name."""


def form_fields(body: bytes, content_type: bytes) -> FormFields:
    """Parse a multipart body; raise `InputError` if it is invalid."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # RFC 2046
        raise InputError("the content type of a form expects a boundary of 1 to 70 characters")
    parts = _Parts(body)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InputError("the body is not a valid multipart form") from error
    if not parts.is_whole:
        raise InputError("the multipart form is truncated before its last boundary")
    return parts.form


class _Parts:
    """Collects the parts of a form from parser callbacks."""

    def __init__(self, body: bytes) -> None:
        self.form = FormFields()
        self.is_whole = False
        self._count = 0
        self._data: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_FORM_PARTS:
            raise InputError(f"the form has too many parts: expected at most {MAX_FORM_PARTS}")
        self._data, self._headers = [], {}

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._name) + len(self._value) > _MAX_HEADER_BYTES:
            raise InputError(f"a part's header is larger than {_MAX_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InputError("a part of the form has no name")
        name, data = _text(options[b"name"]), b"".join(self._data)
        value: Any
        if b"filename" in options:
            filename = _text(options[b"filename"])[-_MAX_NAME_CHARACTERS:]
            kind = _text(self._headers.get(b"content-type", b""))[:_MAX_NAME_CHARACTERS]
            value = File(filename, kind or OCTETS, data)
        else:
            value = _text(data)
        if name not in self.form:
            self.form[name] = value
        elif isinstance(self.form[name], list):
            self.form[name].append(value)
        else:
            self.form[name] = [self.form[name], value]

    def _end_form(self) -> None:
        self.is_whole = True


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError("form fields must be UTF-8") from None
