"""Files of a transfer: opened, compressed or not, and read line by line within bounds."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from contextlib import suppress
from errno import EEXIST
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias, cast

from sessionstore.transfer.jsonl import Line, TransferFileError, decode_line

__all__ = ["FileLike", "LineReader", "OutputFile"]

FileLike: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A file's name, or what is open for bytes."""

_GZIP = b"\x1f\x8b"
_DAMAGED = "the compressed data are damaged, or cut"
_ANOTHER = "another export writes this file: run one at a time"


class OutputFile:
    """A file that is written: one of a name is there when it is whole.

    Args:
        file: The name, or what is open for writing bytes.
    """

    def __init__(self, file: FileLike) -> None:
        self._path: Path | None = None
        self._part: BinaryIO | None = None
        if isinstance(file, (str, os.PathLike)):
            self._path = Path(file)
            self._beside = self._path.with_name(f"{self._path.name}.part")
            self._part = open(self._handle(self._path), "wb")  # noqa: SIM115 - below
        self._out: IO[bytes] = self._part or cast("BinaryIO", file)
        if self._path is not None and self._path.suffix == ".gz":
            self._out = cast("IO[bytes]", gzip.GzipFile("", "wb", 6, self._out, 0))

    def _handle(self, path: Path) -> int:
        self._is_direct = path.exists() and not path.is_file()
        if self._is_direct:  # a device or a pipe, in whose place no file may come; or a folder
            return os.open(path, os.O_WRONLY)
        # What is there is of a run that was killed, or a link to somewhere else.
        self._beside.unlink(missing_ok=True)
        return os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, data: bytes) -> None:
        """Write some bytes."""
        self._out.write(data)

    def finish(self) -> None:
        """Have all of it on the disk, and under its name.

        Raises:
            OSError: It can't be written, or another export has begun to write this file.
        """
        if self._part is None or self._path is None:
            self._out.flush()
            return
        if self._out is not self._part:
            self._out.close()
        self._part.flush()
        if not self._is_direct:
            os.fsync(self._part.fileno())
            if not self._is_own():
                raise FileExistsError(EEXIST, _ANOTHER, str(self._path))
            os.replace(self._beside, self._path)
        self._part.close()

    def give_up(self) -> None:
        """Leave nothing behind; harmless when it is finished."""
        if self._part is not None and not self._part.closed:
            is_own = not self._is_direct and self._is_own()
            for each in (self._out, self._part):  # a full disk takes no rest of it either
                with suppress(OSError, ValueError):
                    each.close()
            if is_own:
                self._beside.unlink(missing_ok=True)

    def _is_own(self) -> bool:
        """Tell whether the file beside is still the one that was made here."""
        with suppress(FileNotFoundError):
            made = os.fstat(cast("BinaryIO", self._part).fileno())
            return os.path.samestat(made, os.lstat(self._beside))
        return False


class LineReader:
    """The lines of a file, one at a time.

    Args:
        file: The name, or what is open for reading bytes. What is compressed is recognised.
        longest: How many bytes a line may have.

    Attributes:
        number: How many lines were read.
        size: How many bytes the file has; ``None`` where that is not known.
    """

    def __init__(self, file: FileLike, longest: int) -> None:
        self._owned: BinaryIO | None = None
        self._buffered: io.BufferedReader | None = None
        if isinstance(file, (str, os.PathLike)):
            self._raw: BinaryIO = open(file, "rb")  # noqa: SIM115 - `close` closes it
            self._owned = self._raw
        else:
            self._raw = file
            if not isinstance(file, io.BufferedReader):
                self._buffered = io.BufferedReader(cast("io.RawIOBase", file))
        peeked = cast("io.BufferedReader", self._buffered or self._raw)
        self._lines: IO[bytes] = peeked
        if peeked.peek(2)[:2] == _GZIP:
            self._lines = cast("IO[bytes]", gzip.GzipFile("", "rb", fileobj=peeked))
        self._longest, self._ahead = longest, cast("Line | None", None)
        self.number: int = 0
        self.size: int | None = os.fstat(self._owned.fileno()).st_size if self._owned else None

    @property
    def position(self) -> int:
        """How many bytes of the file are read."""
        return self._raw.tell() if self._owned else 0

    def next(self) -> Line | None:
        """Read the next line; ``None`` at the end of the file. Blank ones are passed over.

        Raises:
            TransferFileError: It is too long, or the compressed data are damaged.
            BadLineError: It can't be read.
        """
        line, self._ahead = self._ahead, None
        while line is None:
            raw = self._read()
            if not raw:
                return None
            line = decode_line(raw, self.number) if raw.strip() else None
        return line

    def put_back(self, line: Line) -> None:
        """Give a line once more."""
        self._ahead = line

    def _read(self) -> bytes:
        self.number += 1
        try:
            raw = self._lines.readline(self._longest + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise TransferFileError(_DAMAGED, self.number) from None
        if len(raw) > self._longest and not raw.endswith(b"\n"):
            raise TransferFileError(f"it has more than {self._longest:,} bytes", self.number)
        return raw

    def close(self) -> None:
        """Close what this has opened."""
        if self._owned is not None:
            self._owned.close()
        if self._buffered is not None:
            self._buffered.detach()
