"""A zip file that is written file by file, and can be gone on with where the work was cut short.

The files in it are stored as they are, one behind the other, each with its checksum in front. So without the table of
contents, which comes at the end, everything that is whole is found again: `zipfile` could not go on there.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
_UTF_8 = 0x800  # of the flags
_STORED = 0
_DAY = 1 << 5 | 1  # the first of January 1980, at midnight: the same content makes the same file
_MADE_ON_UNIX, _RIGHTS = 3 << 8, 0o100644 << 16
_VERSION, _VERSION_64 = 20, 45


class Member(NamedTuple):
    """A file in it: its name in UTF-8, the position of its header, its CRC-32 and its length in bytes."""

    name: bytes
    position: int
    checksum: int
    size: int

    @property
    def content(self) -> int:
        """Where its content begins."""
        return self.position + _LOCAL.size + len(self.name)


class StoredZip:
    """A new zip file, or the rest of one that was not finished; what is behind its last whole file is cut off.

    Raises OSError for a file that cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike):
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._members = {member.name: member for member in self._whole_members()}
        last = max(self._members.values(), key=lambda member: member.position, default=None)
        self._end = last.content + last.size if last else 0
        os.truncate(self._fd, self._end)

    @property
    def names(self) -> set[str]:
        """Of the files in it."""
        return {name.decode() for name in self._members}

    def read(self, name: str) -> bytes | None:
        """What is in a file; None if there is none of this name."""
        member = self._members.get(name.encode())
        return member and self._read(member.content, member.size)

    def clear(self) -> None:
        """Removes all files."""
        self._members, self._end = {}, 0
        os.truncate(self._fd, 0)

    def add(self, name: str, content: bytes) -> None:
        """Appends a file of less than 4 GB."""
        member = Member(name.encode(), self._end, zlib.crc32(content), len(content))
        header = _LOCAL.pack(b"PK\3\4", _VERSION, _UTF_8, _STORED, 0, _DAY, *_of_content(member), len(member.name), 0)
        self._append(header + member.name + content)
        self._members[member.name] = member

    def finish(self) -> None:
        """Writes the table of contents, waits until all is on the disk, and closes the file."""
        begin = self._end
        self._append(b"".join(map(_central, self._members.values())))
        size, count = self._end - begin, len(self._members)
        if count >= _MAX_16 or begin + size >= _MAX_32:
            versions = (_VERSION_64, _VERSION_64)
            end = _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, begin)
            self._append(end + _LOCATOR_64.pack(b"PK\6\7", 0, self._end, 1))
        counts = (min(count, _MAX_16),) * 2
        self._append(_END.pack(b"PK\5\6", 0, 0, *counts, min(size, _MAX_32), min(begin, _MAX_32), 0))
        os.fsync(self._fd)
        self.close()

    def close(self) -> None:
        """Closes the file as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        left, self._end = memoryview(data), self._end + len(data)
        while left:
            left = left[os.pwrite(self._fd, left, self._end - len(left)) :]

    def _read(self, position: int, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := os.pread(self._fd, size - len(data), position + len(data))):
            data += more
        return data

    def _whole_members(self) -> Iterator[Member]:
        position = 0
        while len(header := self._read(position, _LOCAL.size)) == _LOCAL.size:
            magic, _, flags, method, _, _, checksum, packed, size, name_size, extra = _LOCAL.unpack(header)
            if (magic, flags, method, packed, extra) != (b"PK\3\4", _UTF_8, _STORED, size, 0):
                return
            member = Member(self._read(position + _LOCAL.size, name_size), position, checksum, size)
            content = self._read(member.content, size)
            if len(content) < size or zlib.crc32(content) != checksum or not _is_utf_8(member.name):
                return
            yield member
            position = member.content + size


def _is_utf_8(name: bytes) -> bool:
    return name.decode(errors="ignore").encode() == name


def _of_content(member: Member) -> tuple[int, int, int]:
    return member.checksum, member.size, member.size


def _central(member: Member) -> bytes:
    """Its entry in the table of contents."""
    far = member.position >= _MAX_32
    extra = struct.pack("<2HQ", 1, 8, member.position) if far else b""
    made, needed = _MADE_ON_UNIX | _VERSION_64, _VERSION_64 if far else _VERSION
    about = (len(member.name), len(extra), 0, 0, 0, _RIGHTS, min(member.position, _MAX_32))
    head = _CENTRAL.pack(b"PK\1\2", made, needed, _UTF_8, _STORED, 0, _DAY, *_of_content(member), *about)
    return head + member.name + extra
