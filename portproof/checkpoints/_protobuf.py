"""Protobuf messages of files from strangers, walked over field by field without a schema.

Encoding: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from portproof._errors import BadInput

VARINT, I64, LEN, I32 = 0, 1, 2, 5
#: Fields of a file, and bytes of integers that are packed one by one; more than any model has beside raw data.
_MOST, _PACKED = 2_000_000, 8 << 20

Span = tuple[int, int]


class Scanner:
    """Walks over the fields of protobuf messages."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data, self._left = data, _MOST

    def fields(self, span: Span) -> Iterator[tuple[int, int, Span]]:
        """Yield number, wire type and place of each field; for an integer the place is the number itself, twice."""
        at, end = span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise BadInput(f"it has more than {_MOST} fields; that is no model")
            key, at = self.varint(at, end)
            field, kind = key >> 3, key & 7
            if kind == VARINT:
                value, at = self.varint(at, end)
                yield field, kind, (value, value)
                continue
            if kind == LEN:
                size, at = self.varint(at, end)
            elif kind in (I32, I64):
                size = 4 if kind == I32 else 8
            else:
                raise BadInput("it is no protobuf message")
            if size > end - at:
                raise BadInput("it is cut short")
            yield field, kind, (at, at + size)
            at += size

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Read a number of seven bits a byte; returns it and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise BadInput("it is cut short")
            byte = self.data[at]
            value, at = value | (byte & 127) << shift, at + 1
            if byte < 128:
                return value, at
        raise BadInput("it holds a number of more than 64 bits")

    def numbers(self, kind: int, span: Span) -> list[int]:
        """Return the integers of a field, which may be one or packed."""
        if kind == VARINT:
            return [_signed(span[0])]
        at, end = span
        if end - at > _PACKED:
            raise BadInput("it packs a large tensor's integers one by one; save it with raw data")
        found = []
        while at < end:
            value, at = self.varint(at, end)
            found.append(_signed(value))
        return found

    def text(self, span: Span) -> str:
        """Return a short string."""
        if span[1] - span[0] > 4096:
            raise BadInput("it holds a name of more than 4096 bytes")
        return self.data[slice(*span)].decode("utf-8")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
