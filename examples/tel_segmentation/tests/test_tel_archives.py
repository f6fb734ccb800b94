"""Archives: no file is written outside the folder, incompletely, or twice; damage is an error."""

import io
import os
import shutil
import tarfile
import zipfile

import pytest

from tel_segmentation.data.datasets import archives
from tel_segmentation.data.datasets.archives import (
    extract,
    inside,
    is_archive,
    is_junk,
    is_zip,
    list_names,
    put_file,
)

FILES = {"a/one.txt": b"1", "a/b/two.txt": b"22" * 5000, "three.bin": bytes(range(256)) * 40}


def everything(name):
    return name


def write_tar(path, files=FILES, mode="w", links=()):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return path


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


WRITERS = {
    "tar": write_tar,
    "tar.gz": lambda path, files=FILES: write_tar(path, files, "w:gz"),
    "tar.xz": lambda path, files=FILES: write_tar(path, files, "w:xz"),
    "zip": write_zip,
}


def tree(folder):
    """The files of a folder, including hidden ones."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_known_by_content_and_extracted(tmp_path, kind):
    archive = WRITERS[kind](tmp_path / "download")
    assert is_archive(archive)
    assert is_zip(archive) == (kind == "zip")
    assert list_names(archive) == list(FILES)
    assert extract(archive, tmp_path / "out", everything, progress=False) == (3, 0)
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", WRITERS)
def test_chosen_and_renamed(tmp_path, kind):
    archive = WRITERS[kind](tmp_path / "download")

    def choose(name):
        return "x/" + name.rsplit("/")[-1] if name.endswith("txt") else None

    assert extract(archive, tmp_path / "out", choose, progress=False) == (2, 0)
    assert tree(tmp_path / "out") == {"x/one.txt": b"1", "x/two.txt": b"22" * 5000}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_there_is_left_what_is_not_whole_is_replaced(tmp_path, kind):
    archive, out = WRITERS[kind](tmp_path / "download"), tmp_path / "out"
    extract(archive, out, everything, progress=False)
    before = (out / "a/b/two.txt").stat().st_mtime_ns
    (out / "three.bin").write_bytes(b"half")
    (out / "a/one.txt").write_bytes(b"2")  # of the same length
    (out / "a/.one.txt.part").write_bytes(b"of a run that was killed")
    assert extract(archive, out, everything, progress=False) == (2, 1)
    assert tree(out) == FILES
    assert (out / "a/b/two.txt").stat().st_mtime_ns == before
    assert extract(archive, out, everything, progress=False) == (0, 3)


def test_interrupted_while_a_file_is_written(tmp_path, monkeypatch):
    archive, out = write_zip(tmp_path / "download"), tmp_path / "out"

    def interrupted(source, target, length):
        target.write(source.read(3))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(archive, out, everything, progress=False)
    assert tree(out) == {}
    assert extract(archive, out, everything, progress=False) == (3, 0)


PLACES_OUTSIDE = ["../x", "a/../../x", "/x", "a//x", "./x", "", "C:x", "..\\x", "a\0x"]


@pytest.mark.parametrize("place", PLACES_OUTSIDE)
def test_places_outside_are_refused(tmp_path, place):
    with pytest.raises(ValueError, match=r"it must be put inside .*out, got the place"):
        inside(tmp_path / "out", place, "it")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/escaped"])
def test_members_that_lead_outside_are_refused(tmp_path, kind, name):
    archive = WRITERS[kind](tmp_path / "download", {"first": b"1", name: b"evil"})
    with pytest.raises(ValueError, match=r"download: .*escaped must be put inside"):
        extract(archive, tmp_path / "out" / "deep", everything, progress=False)
    assert sorted(tree(tmp_path)) == ["download", "out/deep/first"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused_where_they_are_wanted(tmp_path, kind):
    archive = write_tar(tmp_path / "download", links=[("link", kind, "/etc/passwd")])
    with pytest.raises(ValueError, match="link must be a file, got a link or device"):
        extract(archive, tmp_path / "out", everything, progress=False)
    assert not os.path.lexists(tmp_path / "out" / "link")
    without = extract(
        archive, tmp_path / "out", lambda name: None if name == "link" else name, progress=False
    )
    assert without == (0, 3)


def test_a_link_in_a_zip_archive_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "download", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="link must be a file, got a link or device"):
        extract(tmp_path / "download", tmp_path / "out", everything, progress=False)


def test_a_link_that_is_there_is_not_followed(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    out.mkdir()
    (out / "a").symlink_to(outside)
    with pytest.raises(ValueError, match=r"a/one.txt must be put inside"):
        extract(write_tar(tmp_path / "one"), out, everything, progress=False)
    (out / "a").unlink()
    # The last part of a path is replaced, even if what it leads to has the right size.
    (out / "three.bin").symlink_to(outside / "kept")
    (out / ".three.bin.part").symlink_to(outside / "kept")
    extract(write_tar(tmp_path / "two", {"three.bin": b"y"}), out, everything, progress=False)
    assert tree(outside) == {"kept": b"x"}
    assert tree(out) == {"three.bin": b"y"}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_an_incomplete_download_is_named(tmp_path, kind, part):
    files = {f"{i}.bin": os.urandom(90_000) for i in range(3)}
    archive = WRITERS[kind](tmp_path / "download", files)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ValueError, match=f"{archive} must be a whole tar or zip archive, got: ."):
        extract(archive, tmp_path / "out", everything, progress=False)
    for name, content in tree(tmp_path / "out").items() if (tmp_path / "out").exists() else ():
        assert content == files[name]


def test_a_tar_that_is_cut_between_files_is_named(tmp_path):
    archive = write_tar(tmp_path / "download", {"a": bytes(512), "b": bytes(512)})
    archive.write_bytes(archive.read_bytes()[: 4 * 512])
    with pytest.raises(ValueError, match="the mark at its end is missing"):
        extract(archive, tmp_path / "out", everything, progress=False)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_damaged_download_is_named(tmp_path, kind):
    files = {"a.bin": os.urandom(30_000)}
    archive = WRITERS[kind](tmp_path / "download", files)
    data = archive.read_bytes()
    archive.write_bytes(data[:15_000] + bytes([data[15_000] ^ 255]) + data[15_001:])
    with pytest.raises(ValueError, match=f"{archive} must be a whole tar or zip archive"):
        extract(archive, tmp_path / "out", everything, progress=False)
    # Files from the damaged archive are replaced when an intact one is extracted.
    archive.write_bytes(data)
    extract(archive, tmp_path / "out", everything, progress=False)
    assert tree(tmp_path / "out") == files


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4", b"\x1f\x8b broken"])
def test_other_files_are_no_archives(tmp_path, content):
    file = tmp_path / "download"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} must be a whole tar or zip archive"):
        extract(file, tmp_path / "out", everything, progress=False)
    assert is_archive(file) == (content == b"PK\3\4")


def test_a_zip_archive_at_the_end_of_a_tar(tmp_path):
    inner = write_zip(tmp_path / "inner.zip").read_bytes()
    archive = write_tar(tmp_path / "download", {"inner.zip": inner})
    assert list_names(archive) == ["inner.zip"]


def test_a_password_is_named(tmp_path):
    archive = write_zip(tmp_path / "download", {"a": b"1"})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + offset] |= 1  # encrypted
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=f"{archive} must be a whole .* password"):
        extract(archive, tmp_path / "out", everything, progress=False)


def test_a_file_is_put_in_its_place(tmp_path):
    source = tmp_path / "points.json"
    source.write_bytes(b"{}")
    assert put_file(source, tmp_path / "out", "p.json")
    assert not put_file(source, tmp_path / "out", "p.json")
    assert tree(tmp_path / "out") == {"p.json": b"{}"}
    with pytest.raises(ValueError, match="must be put inside"):
        put_file(source, tmp_path / "out", "../p.json")


def test_a_disk_error_is_no_damage_of_the_archive(tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"a file where the folder should be")
    with pytest.raises(OSError, match="out"):
        extract(write_zip(tmp_path / "download"), out, everything, progress=False)


def test_what_systems_add_is_junk():
    assert is_junk("__MACOSX/a/._b.png")
    assert is_junk("a/.DS_Store")
    assert not is_junk("a/b.png")
    assert not is_junk("./a/b.png")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "LEAST_LIMIT", 2**16)
    path = WRITERS[kind](tmp_path / "bomb", {"a.bin": b"1", "b.bin": bytes(2**24)})
    with pytest.raises(ValueError, match=r"bomb must unpack to at most .*, got 16,777,217 or more"):
        extract(path, tmp_path / "out", everything)
    assert not (tmp_path / "out/b.bin").exists()


@pytest.mark.parametrize("kind", WRITERS)
def test_two_members_for_one_place(tmp_path, kind):
    path = WRITERS[kind](tmp_path / "a", {"a/x.txt": b"1", "b/x.txt": b"2"})
    with pytest.raises(ValueError, match=r"different places, got a/x\.txt and b/x\.txt for"):
        extract(path, tmp_path / "out", lambda name: name.split("/")[-1])


def test_a_full_disk_is_seen_before_it_is_full(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=archives.SPARE)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"1 bytes and .* must be free on the disk, got 67,108,864"):
        extract(write_zip(tmp_path / "a.zip"), tmp_path / "out", everything)
    assert tree(tmp_path / "out") == {}
