"""Small runs for the tests, which take seconds on one core."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from tel_segmentation import config

PACKAGE = Path(__file__).parents[1]

SMALL = config.Train(
    data=config.Data(crop=(32, 32), train=8, val=4, test=4),
    iterations=6,
    batch=2,
    log_every=2,
    eval_every=3,
    checkpoint_every=2,
    pictures=1,
    device="cpu",  # for equal bits, and for gloo, even on a machine with a GPU
    threads=1,
    tensorboard=False,
)


def options(folder, loss=None, **changes):
    """A run of six iterations; ``data`` may be a dictionary of changes."""
    data = dataclasses.replace(SMALL.data, **changes.pop("data", {}))
    loss = config.Loss(**(loss or {}))
    return dataclasses.replace(SMALL, output=folder, data=data, loss=loss, **changes)


def tel(*arguments, folder, **changes):
    """Runs the command in a process until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "tel_segmentation.cli", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        **changes,
    )


def signalled(signal, attribute, *arguments, folder, delay=0.0, within=()):
    """Runs the command; after a call of ``attribute`` (``module:name``) a signal ends it.

    ``within`` is a command that runs the command that it is given. The process sends the signal to
    itself: from outside, it could arrive after a short run's end.
    """
    module, name = attribute.split(":")
    script = f"""
import functools, importlib, os, sys, threading
from tel_segmentation import cli
*path, name = {name!r}.split(".")
owner = functools.reduce(getattr, path, importlib.import_module({module!r}))
called = getattr(owner, name)
send = lambda: os.kill(os.getpid(), {int(signal)})
def then_signal(*arguments, **options):
    result = called(*arguments, **options)
    setattr(owner, name, called)
    threading.Timer({delay}, send).start() if {delay} else send()
    return result
setattr(owner, name, then_signal)
sys.exit(cli.main({[str(a) for a in arguments]!r}))
"""
    return subprocess.run(
        [*within, sys.executable, "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )


def two_processes(*arguments, folder):
    """Runs the command on two processes under torchrun until they end."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "tel_segmentation.cli", *map(str, arguments),
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


def environment():
    """The environment for one thread, since other tests run at the same time."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
