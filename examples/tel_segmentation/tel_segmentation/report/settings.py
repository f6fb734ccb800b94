"""The settings of runs, as far as they decide a result, and in which of them runs differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tel_segmentation import config

_NOT_SETTINGS = {"output", "seed", "device", "threads", "tensorboard"}
_SAME_RESULT = {"log_every", "checkpoint_every", "pictures", "data.workers"}


def settings(configuration: dict[str, Any]) -> dict[str, str]:
    """The values of a configuration as JSON, nested names with dots, without seed and places."""
    kept = {name: value for name, value in configuration.items() if name not in _NOT_SETTINGS}
    return {
        name: json.dumps(value, ensure_ascii=False) for name, value in config.flat(kept).items()
    }


def what_differs(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """For each configuration, its values of the settings in which they are not all the same.

    Settings that change no result are left out: runs that differ in these alone are the same run.
    """
    values = [settings(each) for each in configurations]
    names = sorted({name for each in values for name in each} - _SAME_RESULT)
    differing = [name for name in names if len({each.get(name) for each in values}) > 1]
    return [
        ", ".join(f"{name} = {each.get(name, 'absent')}" for name in differing) for each in values
    ]
