"""A training ends with its work saved and one line, whatever happens to it or to its workers."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import dataclasses
import functools
import multiprocessing
import os
import pty
import signal
import socket
import threading
import time

import pytest
import tel_forks
import tel_runs

from tel_segmentation.data import loading, shared_memory
from tel_segmentation.runtime import checkpoint, distributed
from tel_segmentation.runtime.run_folder import HISTORY, LAST
from tel_segmentation.training import outcome
from tel_segmentation.training.tracking import read_history

if not hasattr(os, "fork"):
    pytest.skip("processes are forked", allow_module_level=True)


def settings(folder, **changes):
    """A run whose iterations have no checkpoints of their own."""
    given = {"checkpoint_every": 100, "eval_every": 100, "iterations": 40, **changes}
    given.setdefault("data", {"workers": 2})
    return tel_forks.begun(tel_runs.options(folder / "run", **given))


def lines(text):
    """What the command itself wrote."""
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if line.startswith("tel train: ")]


def iteration(options):
    return checkpoint.load(options.output / LAST)["iteration"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_process_group(tmp_path, name):
    options = settings(tmp_path)

    def act():
        os.killpg(os.getpgid(0), getattr(signal, name))
        time.sleep(0.2)  # the workers get it, too

    status, text = tel_forks.resumed(options, at=2, act=act, group=True).wait()
    assert status == 130
    assert lines(text) == [
        f"tel train: stopped after iteration 3 of 40; go on with --resume {options.output}"
    ]
    assert iteration(options) == 3


def test_a_worker_that_is_killed(tmp_path):
    options = settings(tmp_path)

    def act():
        multiprocessing.active_children()[0].kill()

    status, text = tel_forks.resumed(options, at=2, act=act).wait()
    assert status == 2
    (line,) = lines(text)
    assert "a process that reads images has died or is stuck (DataLoader worker (pid" in line
    done = iteration(options)  # what was read before may still be used
    assert 3 <= done < 10
    assert f"use fewer of them (--data.workers); stopped after iteration {done} of 40" in line


@pytest.mark.parametrize(("workers", "end"), [(2, "time-out"), (2, "signal"), (0, "signal")])
def test_reading_that_is_stuck(tmp_path, monkeypatch, workers, end):
    read, started = loading.TrainingSet.__getitem__, time.monotonic()

    def stuck(self, key):
        while (tmp_path / "block").exists():
            time.sleep(0.02)
        return read(self, key)

    def act():
        (tmp_path / "block").touch()
        if end == "signal":
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    monkeypatch.setattr(loading.TrainingSet, "__getitem__", stuck)
    monkeypatch.setattr(loading, "PATIENCE", 2 if end == "time-out" else 600)
    options = settings(tmp_path, data={"workers": workers})
    status, text = tel_forks.resumed(options, at=1, act=act).wait()
    assert time.monotonic() - started < 60
    (line,) = lines(text)
    done = iteration(options)
    if end == "signal":
        assert status == 130
        assert f"stopped after iteration {done} of 40" in line
    else:
        assert status == 2
        assert "stuck (DataLoader timed out after 2 seconds); if memory ran out" in line
    assert done < 40


def test_a_signal_in_an_evaluation(tmp_path, monkeypatch):
    """The evaluation is left at once, and made up for when the run is resumed."""
    options = settings(tmp_path, data={"workers": 0}, eval_every=2, iterations=4)
    whole = dataclasses.replace(options, output=tmp_path / "whole")
    assert tel_forks.resumed(tel_forks.begun(whole)).wait().status == 0
    measure, calls = outcome.evaluate_model, []

    def watched(*arguments, **others):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(300)
        return measure(*arguments, **others)

    monkeypatch.setattr(outcome, "evaluate_model", watched)
    status, text = tel_forks.resumed(options).wait()
    assert status == 130
    assert "stopped after iteration 2 of 4" in lines(text)[0]
    monkeypatch.undo()
    assert tel_forks.resumed(options).wait().status == 0
    one, other = (
        [line for line in read_history(run.output / HISTORY) if "evaluation" in line]
        for run in (whole, options)
    )
    assert [line["iteration"] for line in one] == [2, 4]
    assert one == other


def test_a_file_that_cannot_be_read_leaves_a_checkpoint(tmp_path, monkeypatch):
    read = loading.TrainingSet.__getitem__

    def damaged(self, key):
        return ("", ValueError("bad.png")) if key[0] == 7 else read(self, key)

    monkeypatch.setattr(loading.TrainingSet, "__getitem__", damaged)
    options = settings(tmp_path, data={"workers": 0})
    status, text = tel_forks.resumed(options).wait()
    assert status == 2
    assert lines(text) == ["tel train: bad.png"]
    assert iteration(options) == 3


def small_shared_memory(megabytes):
    """Gives this process a /dev/shm of its own, as containers have it; needs rights."""
    system = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if system.unshare(0x20000):  # CLONE_NEWNS
        return False
    size = f"size={megabytes}m".encode()
    private = system.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    return not private and not system.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, size)


@pytest.mark.parametrize(("crop", "number"), [((32, 32), 2), ((96, 96), 1), ((256, 256), 0)])
def test_workers_that_fit_into_shared_memory(tmp_path, monkeypatch, crop, number):
    usage = shared_memory.shutil.disk_usage("/")._replace(free=2 * 2**20)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    options = tel_runs.options(tmp_path / "run", data={"workers": 2, "crop": crop}, batch=2)
    found = shared_memory.fitting_workers(options)
    size = 2 * crop[0] * crop[1] * 40
    assert found.number == number
    assert number * found.prefetch * size + size <= usage.free or not number
    assert found.reason == ("" if number == 2 else (
        f"data.workers: {number} instead of 2: {tmp_path} has 2 MB free, and a batch needs"
        f" {size / 2**20:,.0f} MB"
    ))  # fmt: skip


@pytest.mark.parametrize("checked", [True, False])
def test_little_shared_memory(tmp_path, monkeypatch, checked):
    options = settings(tmp_path, data={"workers": 2, "crop": (96, 96)}, iterations=3)
    if not checked:
        many = shared_memory.Workers(2, 4, "")
        monkeypatch.setattr(loading, "fitting_workers", lambda *_: many)
    unshared = tmp_path / "unshared"

    def act():
        if small_shared_memory(1):
            unshared.touch()
            return tel_forks.cli.main(["train", "--resume", str(options.output)])
        return 0

    status, text = tel_forks.Child(act).wait()
    if not unshared.exists():
        pytest.skip("needs the right to mount")
    if checked:
        assert status == 0, text
        assert "data.workers: 0 instead of 2: /dev/shm has 1 MB free, and a batch needs 1" in text
    else:
        assert status == 2
        (line,) = lines(text)
        assert "shared memory is full: use fewer --data.workers" in line


def test_a_terminal_that_is_closed(tmp_path):
    options = settings(tmp_path, data={"workers": 0}, iterations=400)
    reached = tmp_path / "reached"
    with tel_forks.allowed():
        number, terminal = pty.fork()
    if not number:
        with contextlib.suppress(BaseException):
            tel_forks.write_to_streams()
            tel_forks.end_if_it_hangs()
            tel_forks.watch(3, reached.touch)
            os._exit(tel_forks.cli.main(["train", "--resume", str(options.output)]))
        os._exit(98)
    while not reached.exists():
        os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(number, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert 4 <= iteration(options) < 400


def test_one_training_in_a_folder(tmp_path):
    options = settings(tmp_path, data={"workers": 0})
    reached = tmp_path / "reached"

    def act():
        reached.touch()
        time.sleep(300)

    first = tel_forks.resumed(options, at=2, act=act)
    tel_forks.wait_for(reached.exists)
    status, text = tel_forks.resumed(options).wait()
    assert status == 2
    (line,) = lines(text)
    assert "must be used by one training at a time, got a second one: the first" in line
    assert f"(process {first.number} on " in line
    os.kill(first.number, signal.SIGKILL)
    first.wait()
    assert (options.output / ".lock").exists()
    assert tel_forks.resumed(options, "--iterations", 4).wait().status == 0
    assert not (options.output / ".lock").exists()


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize("where", ["reading", "iteration", "start"])
def test_a_process_that_fails_ends_the_others(tmp_path, monkeypatch, where):
    options = settings(tmp_path, data={"workers": 0}, iterations=6)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "_LATER", 1.0)
    if where == "start":
        (options.output / "last.pt").touch()
    read = loading.TrainingSet.__getitem__

    def act():
        raise ValueError("no such pixel")

    def process(rank):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        if rank == 1 and where == "reading":
            loading.TrainingSet.__getitem__ = lambda self, key: (
                ("", ValueError("bad.png cannot be read")) if key[0] == 7 else read(self, key)
            )
        if rank == 1 and where == "iteration":
            tel_forks.watch(1, act)
        return tel_forks.cli.main(["train", "--resume", str(options.output)])

    started = time.monotonic()
    children = [tel_forks.Child(functools.partial(process, rank)) for rank in (0, 1)]
    (first, one), (second, other) = (child.wait() for child in children)
    assert time.monotonic() - started < 60
    assert (first, second) == (2, 2)
    others = "tel train: ended, since another process of this training failed: see its message"
    if where == "start":
        assert lines(one) == lines(other)
        assert "is corrupt or no checkpoint" in lines(one)[0]
    else:
        assert lines(one) == [others]
        what = "bad.png cannot be read" if where == "reading" else "no such pixel"
        assert lines(other) == [f"tel train: {what}"]
