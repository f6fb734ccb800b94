"""Checkpoints: written completely or not at all, never executed, with clear errors."""

import errno
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tel_segmentation.runtime import checkpoint, run_folder

STATE = {"model": {"w": torch.arange(5000.0)}, "config": "{}", "iteration": 3}


def test_round_trip_and_the_one_before(tmp_path):
    path = tmp_path / run_folder.LAST
    checkpoint.save(path, STATE)
    checkpoint.save(path, {**STATE, "iteration": 4})
    assert checkpoint.load(path)["iteration"] == 4
    assert checkpoint.load(tmp_path / run_folder.PREVIOUS)["iteration"] == 3
    assert torch.equal(checkpoint.load(path)["model"]["w"], STATE["model"]["w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [run_folder.LAST, run_folder.PREVIOUS]


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be opened")
def test_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    events, fsync, rename = [], os.fsync, Path.replace

    def flush(descriptor):
        status = os.fstat(descriptor)
        folder = stat.S_ISDIR(status.st_mode)
        assert not folder or os.path.samestat(status, tmp_path.stat())
        events.append("folder" if folder else status.st_size)
        fsync(descriptor)

    def renamed(path, target):
        events.append(Path(target).name)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", renamed)
    path = tmp_path / run_folder.LAST
    checkpoint.save(path, STATE)
    size = path.stat().st_size
    assert events == [size, run_folder.LAST, "folder"]
    events.clear()
    checkpoint.save(path, STATE)
    assert events == [run_folder.PREVIOUS, size, run_folder.LAST, "folder"]
    events.clear()
    checkpoint.write_text(tmp_path / "file", "less than a buffer")
    assert events == [18, "file", "folder"]


@pytest.mark.parametrize("writer", ["checkpoint", "export"])
def test_a_full_disk_leaves_the_file(tmp_path, writer):
    """torch's writer of programs ends the process if it meets an error."""
    path = tmp_path / run_folder.LAST
    checkpoint.save(path, STATE)
    program = f"""
import resource, sys, torch
from pathlib import Path
from tel_segmentation.runtime import checkpoint
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    path, weights = Path({str(path)!r}), torch.zeros(10**5)
    if {writer!r} == "checkpoint":
        checkpoint.save(path, {{"model": {{"w": weights}}, "config": "{{}}", "iteration": 9}})
    else:
        program = torch.export.export(torch.nn.Linear(100, 1000), (weights[:100],))
        checkpoint.write_atomically(path, lambda file: torch.export.save(program, file))
except OSError as error:
    print(error)
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert "last.pt could not be written (File too large); it is unchanged" in done.stdout
    assert checkpoint.load(path)["iteration"] == 3
    assert not list(tmp_path.glob(".*"))


def test_an_exception_while_writing_leaves_the_file(tmp_path):
    path = tmp_path / "file"
    checkpoint.write_text(path, "old")

    def fail(file):
        file.write(b"new, but not all")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_system_that_is_read_only(tmp_path, monkeypatch):
    """The message names the file, not the temporary one beside it."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), ".0.tmp")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match=r"file could not be written \(Read-only file system\)"):
        checkpoint.write_text(tmp_path / "file", "new")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_file_systems_that_cannot_flush(tmp_path, monkeypatch, number):
    """Shared folders of virtual machines refuse to flush folders; a real error is told."""

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="could not be written"):
            checkpoint.write_text(tmp_path / "file", "new")
    else:
        test_round_trip_and_the_one_before(tmp_path)


def test_names_of_full_length(tmp_path):
    for name in ("n" * 251 + ".png", "é" * 125 + ".png", run_folder.LAST):
        checkpoint.write_text(tmp_path / name, name)
        assert (tmp_path / name).read_text(encoding="utf-8") == name
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_corrupt(tmp_path, damage):
    path = tmp_path / run_folder.LAST
    checkpoint.save(path, STATE)
    checkpoint.save(path, STATE)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        middle = len(content) // 2  # in the tensor's data
        content[middle] ^= 0xFF
    else:
        content = b"" if damage == "empty" else b"not a checkpoint"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt or no checkpoint") as caught:
        checkpoint.load(path)
    assert run_folder.PREVIOUS in str(caught.value)
    assert checkpoint.load(tmp_path / run_folder.PREVIOUS)["iteration"] == 3


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**STATE, "model": Malicious()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Malicious()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match="corrupt or no checkpoint"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_missing_and_foreign(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "last.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="not a checkpoint of this package"):
        checkpoint.load(tmp_path / "a.pt")


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    test_round_trip_and_the_one_before(tmp_path)
