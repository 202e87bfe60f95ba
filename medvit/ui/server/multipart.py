"""Counts the parts of a form and the bytes of its fields while it arrives.

Gradio writes files to disk, but keeps a field without a file name in memory, whatever its size.
"""

from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header


class MultipartCounter:
    """Counts `parts` of a multipart body, and `field_bytes` that belong to no file."""

    def __init__(self, content_type: bytes):
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        self._delimiter = b"--" + boundary
        self.parts = 0
        self.field_bytes = 0
        self._is_file = False
        self._name = self._value = b""
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_part_data": self._on_data,
        }
        self._parser = MultipartParser(boundary, callbacks) if boundary else None

    def write(self, chunk: bytes) -> None:
        """Count the next chunk of the body; all of it counts as a field if the body is not multipart."""
        if self._parser is None:
            self.field_bytes += len(chunk)
            return
        try:
            self._parser.write(chunk)
        except FormParserError:
            self._parser = None

    def most_parts(self, chunk: bytes, at_least: int = 0) -> int:
        """How many parts a chunk of the body begins at most."""
        return max(at_least, chunk.count(self._delimiter))

    def _begin(self) -> None:
        self.parts += 1
        self._is_file = False

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self.field_bytes += end - start

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self.field_bytes += end - start

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]
        self._name = self._value = b""

    def _on_data(self, _data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self.field_bytes += end - start
