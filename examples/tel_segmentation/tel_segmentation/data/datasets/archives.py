"""Downloaded archives: their files, and safe, resumable extraction.

The kind of an archive is recognised by its content, not by its name. Only plain files are
extracted. Each is first written under a temporary name, then renamed, so that an extracted file is
always complete. An interrupted extraction continues when it is called again: existing files with
the same content are kept. Nothing is ever written outside the target folder.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

Choose = Callable[[str], str | None]
"""A member's name in the archive → its path in the target folder, or None to skip it."""


_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # a zip file with a password, or compressed in an unusual way
)


RATIO = 100
"""How much larger than the archive its files may be: images and label maps are compressed."""
LEAST_LIMIT = 2**26
"""Bytes that any archive may unpack to."""
SPARE = 2**26
"""Bytes that stay free on the disk."""


class Extracted(NamedTuple):
    """How many of the chosen files were written, and how many existed already."""

    written: int
    present: int
    """Files that existed with the same content."""


class _Member(NamedTuple):
    name: str
    size: int
    plain: bool  # a file: no link, no device
    open: Callable[[], IO[bytes]]
    position: int  # in the archive, in bytes


def extract(archive: Path, target: Path, choose: Choose, progress: bool = True) -> Extracted:
    """Extracts files of a tar (compressed or not) or zip archive.

    Args:
        archive: the file.
        target: the folder; it is made if it does not exist.
        choose: which members to extract, and to which paths.
        progress: whether to show a progress bar, on terminals only.

    Returns:
        How many files were written, and how many existed already.

    Raises:
        ValueError: the archive is damaged, incomplete or of another kind, unpacks to more than
            ``RATIO`` times its size, or has a member that must not be extracted: a link, one whose
            path is not in the target folder, or two for one path.
        OSError: a file could not be written, or the disk has no space for it.
    """
    written = present = unpacked = 0
    most = LEAST_LIMIT + RATIO * archive.stat().st_size
    placed: dict[Path, str] = {}
    bar = tqdm(
        total=archive.stat().st_size,
        desc=archive.name,
        unit="B",
        unit_scale=True,
        disable=not progress or None,
    )
    with bar, _reading(archive), _members(archive) as members:
        for member in members:
            bar.update(max(0, member.position - bar.n))
            place = choose(member.name)
            if place is None:
                continue
            if not member.plain:
                raise ValueError(f"{archive}: {member.name} must be a file, got a link or device")
            path = inside(target, place, f"{archive}: {member.name}")
            if path in placed:
                raise ValueError(
                    f"{archive}: members must have different places, got {placed[path]} and"
                    f" {member.name} for {path}"
                )
            placed[path] = member.name
            unpacked += member.size
            if unpacked > most:
                raise ValueError(
                    f"{archive} must unpack to at most {most:,} bytes, {RATIO} times its size, got"
                    f" {unpacked:,} or more"
                )
            if _is_there(member, path):
                present += 1
            else:
                _write(member, path)
                written += 1
        bar.update(bar.total - bar.n)
    return Extracted(written, present)


def list_names(archive: Path) -> list[str]:
    """The names of the files in a tar or zip archive.

    Raises:
        ValueError: the archive is damaged, or of another kind.
    """
    with _reading(archive), _members(archive) as members:
        return [member.name for member in members]


def is_archive(path: Path) -> bool:
    """Whether a file is a tar or zip archive, by its content."""
    try:
        return is_zip(path) or tarfile.is_tarfile(path)
    except _DAMAGED:
        return False


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by its first bytes.

    zipfile.is_zipfile searches for the last bytes, which may be those of a zip archive in a tar.
    """
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def inside(target: Path, place: str, what: str) -> Path:
    """The path of a file in a folder, which is checked to be inside it.

    Args:
        target: the folder.
        place: the relative path, with slashes.
        what: what is put there, for the message.

    Raises:
        ValueError: the path is absolute or has ``..``, or a link in it leads out of the folder.
    """
    parts = place.split("/")
    odd = {"", ".", ".."}.intersection(parts) or any(c in place for c in "\\:\0")
    path = target.joinpath(*parts) if not odd else target
    # A link in the target folder would be followed.
    if odd or not path.parent.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"{what} must be put inside {target}, got the place {place!r}")
    return path


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turns errors of the readers of archives into a ValueError with the archive's path."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"{archive} must be a whole tar or zip archive, got: {error or type(error).__name__}"
        ) from error


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if is_zip(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield _zip_members(zipped)
    else:
        with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
            yield _tar_members(tar, raw)


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = info.external_attr >> 28  # of Unix's file modes: 8 is a file, 0 unknown
        if not info.is_dir():
            yield _Member(
                info.filename,
                info.file_size,
                kind in (0, 8),
                lambda info=info: archive.open(info),  # type: ignore[misc]
                info.header_offset,
            )


def _tar_members(archive: tarfile.TarFile, raw: IO[bytes]) -> Iterator[_Member]:
    for info in archive:

        def content(info: tarfile.TarInfo = info) -> IO[bytes]:
            file = archive.extractfile(info)
            assert file is not None  # it is called for plain files only
            return file

        if not info.isdir():
            name = info.name.removeprefix("./")
            yield _Member(name, info.size, info.isreg(), content, raw.tell())
    stream = archive.fileobj
    assert stream is not None  # it is open
    if stream.tell() == archive.offset:
        raise tarfile.ReadError("the mark at its end is missing")
    while stream.read(1 << 20):  # a compressed archive has its checksum at the end
        pass


def _is_there(member: _Member, path: Path) -> bool:
    """Whether the file has the member's content; the size alone would not show damage."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != member.size:
        return False
    with member.open() as one, path.open("rb") as other:
        while chunk := one.read(1 << 20):
            if chunk != other.read(len(chunk)):
                return False
    return True


def _write(member: _Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # it may be a link
    free = shutil.disk_usage(path.parent).free
    if free < member.size + SPARE:
        raise OSError(
            f"{path}: {member.size:,} bytes and {SPARE:,} to spare must be free on the disk, got"
            f" {free:,}"
        )
    try:
        with member.open() as source, part.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            written = file.tell()
        if written != member.size:
            raise EOFError(f"{member.name} ends after {written} of {member.size} bytes")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def put_file(source: Path, target: Path, place: str) -> bool:
    """Copies a file to a path in a folder, in one step.

    Returns:
        Whether it was written; false if it exists with the same content.

    Raises:
        ValueError: the path is not inside the folder.
        OSError: the file could not be written.
    """
    path = inside(target, place, str(source))
    member = _Member(source.name, source.stat().st_size, True, lambda: source.open("rb"), 0)
    if _is_there(member, path):
        return False
    _write(member, path)
    return True


def is_junk(name: str) -> bool:
    """Whether a member is a file that macOS adds to archives."""
    parts = PurePosixPath(name).parts
    return any(part in ("__MACOSX", ".DS_Store") or part.startswith("._") for part in parts)
