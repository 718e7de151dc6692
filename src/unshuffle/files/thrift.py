"""Structures in Thrift's compact protocol, which describe the parts of a Parquet file.

They are read to know what they declare, before the library that decodes Parquet takes memory. The
protocol is described in Thrift's `thrift-compact-protocol.md`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unshuffle.files import limits

_TRUE, _FALSE = 1, 2  # the kinds of value that a field has instead of a value

Struct = dict[int, Any]  # a structure's values by the numbers of their fields


class ThriftError(ValueError):
    """These bytes are no structure, or one beyond the limits."""


@dataclass
class Decoder:
    """A position in bytes that hold structures, and the count of parts met so far."""

    content: bytes
    position: int = 0
    containers: int = 0

    def struct(self, depth: int = 0) -> Struct:
        """Read a structure, by the numbers of its fields."""
        self._enter(depth)
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self._integer()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        read = _VALUES.get(kind)
        if read is None:
            raise ThriftError(f"a value is of the unknown kind {kind}")
        return read(self, depth)

    def _list(self, depth: int) -> list[Any]:
        self._enter(depth)
        head = self._byte()
        size = head >> 4 if head >> 4 != 15 else self._length()
        self._enter(depth, size)
        return [self._value(head & 0x0F, depth) for _ in range(size)]

    def _map(self, depth: int) -> list[Any]:
        self._enter(depth)
        size = self._length()
        kinds = self._byte() if size else 0
        self._enter(depth, size)
        return [
            (self._value(kinds >> 4, depth), self._value(kinds & 0x0F, depth)) for _ in range(size)
        ]

    def _enter(self, depth: int, parts: int = 1) -> None:
        """Take note of a structure or list, or of so many parts of one."""
        self.containers += parts
        if depth > limits.THRIFT_DEPTH or self.containers > limits.THRIFT_PARTS:
            raise ThriftError("it has too many parts, or parts in parts")

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.content):
            raise ThriftError("it is cut short")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def _byte(self) -> int:
        return self._take(1)[0]

    def _length(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number is too long")

    def _integer(self) -> int:
        value = self._length()
        return (value >> 1) ^ -(value & 1)


# By kind, how a value is read.
_VALUES: dict[int, Callable[[Decoder, int], Any]] = {
    **dict.fromkeys((_TRUE, _FALSE, 3), lambda at, _: at._byte()),  # in a list, truth is a byte
    **dict.fromkeys((4, 5, 6), lambda at, _: at._integer()),  # of 16, 32, 64 bits
    7: lambda at, _: struct.unpack("<d", at._take(8))[0],
    8: lambda at, _: at._take(at._length()),  # text
    **dict.fromkeys((9, 10), lambda at, depth: at._list(depth + 1)),
    11: lambda at, depth: at._map(depth + 1),
    12: lambda at, depth: at.struct(depth + 1),
}
