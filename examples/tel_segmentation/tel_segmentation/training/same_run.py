"""Whether the run in a folder has the wanted configuration, and so can be continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from tel_segmentation import config
from tel_segmentation.runtime import distributed
from tel_segmentation.runtime.run_folder import CONFIG

Differences = Callable[[config.Train, config.Train, Collection[str]], list[str]]

NO_EFFECT = (
    "output", "experiment", "method", "paper_id", "recipe", "protocols", "data.source",
    "data.annotation", "data.workers", "model.weights", "loss.teachers", "threads", "device",
    "log_every", "checkpoint_every", "pictures", "tensorboard",
)  # fmt: skip
"""Settings with which a run is still the same: names, places of files, and what is reported."""


def differences(
    found: config.Train, wanted: config.Train, ignored: Collection[str] = ()
) -> list[str]:
    """The fields that differ, each as ``name: found value instead of wanted value``.

    Args:
        found: a configuration.
        wanted: the configuration that it is compared with.
        ignored: names of fields that may differ, nested ones with dots: ``data.workers``.
    """
    values, wanted_values = _values(found), _values(wanted)
    return [
        f"{name}: {values.get(name)} instead of {value}"
        for name, value in wanted_values.items()
        if values.get(name) != value and name not in ignored
    ]


def check_resumable(
    found: config.Train, wanted: config.Train, total: int | None, extend: bool
) -> list[str]:
    """Checks that a run can go on from a checkpoint with the wanted configuration.

    Args:
        found: the checkpoint's configuration.
        wanted: the one it is to go on with.
        total: images in an iteration of the checkpoint's run, over all its processes; None if it
            is not known.
        extend: whether the number of iterations may differ.

    Returns:
        The fields that differ, and may.

    Raises:
        ValueError: a field differs with which it would be another run; all of them are named.
    """
    found, wanted = config.absolute(found), config.absolute(wanted)
    may = {*NO_EFFECT, "batch", "accumulate"}
    other = differences(wanted, found, {*may, "iterations"})
    now = wanted.batch * wanted.accumulate * distributed.world()[1]
    if total not in (now, None):
        other.append(f"images in an iteration: {now} instead of {total}")
    if wanted.iterations != found.iterations and not extend:
        other.append(
            f"iterations: {wanted.iterations} instead of {found.iterations} (--resume with"
            " --iterations changes them)"
        )
    if other:
        raise ValueError(
            f"settings must be those of the checkpoint, got {', '.join(other)}: restore them in"
            f" {CONFIG}, or start another run"
        )
    everything = differences(wanted, found, ("output",))
    return [each for each in everything if each.partition(":")[0] in {*may, "iterations"}]


def has_begun(
    wanted: config.Train, ignored: Collection[str] = (), compare: Differences = differences
) -> bool:
    """Whether there is a run in ``wanted.output``; it must have the same settings.

    Args:
        wanted: the settings.
        ignored: names of fields that may differ.
        compare: finds the differences, as ``differences`` does.

    Raises:
        ValueError: the folder has a run with other settings; the message names them.
    """
    file = wanted.output / CONFIG
    if not file.exists():
        return False
    found = config.absolute(config.load(file))
    if other := compare(found, config.absolute(wanted), ignored):
        raise ValueError(
            f"{wanted.output} must be a run with the same settings, got {', '.join(other)}: move it"
            " away or choose another --output"
        )
    return True


def _values(settings: config.Train) -> dict[str, Any]:
    return config.flat(json.loads(config.to_json(settings)))
