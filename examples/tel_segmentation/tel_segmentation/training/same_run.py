"""Whether the run in a folder is the one that is wanted: it may then go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from tel_segmentation import config
from tel_segmentation.runtime.run_folder import CONFIG

Differences = Callable[[config.Train, config.Train, Collection[str]], list[str]]


def differences(
    found: config.Train, wanted: config.Train, ignored: Collection[str] = ()
) -> list[str]:
    """Fields that differ, each as ``name: that of found instead of that of wanted``.

    Args:
        found: a configuration.
        wanted: what it is compared with.
        ignored: names of fields that may differ, those of inner ones with dots: ``data.workers``.
    """
    ours, theirs = _flat(found), _flat(wanted)
    return [
        f"{name}: {ours.get(name)} instead of {value}"
        for name, value in theirs.items()
        if ours.get(name) != value and name not in ignored
    ]


def has_begun(
    wanted: config.Train, ignored: Collection[str] = (), compare: Differences = differences
) -> bool:
    """Whether there is a run in ``wanted.output``; it must have the same settings.

    Args:
        wanted: the settings.
        ignored: names of fields that may differ.
        compare: what finds the differences.

    Raises:
        ValueError: the folder has a run with other settings; they are named.
    """
    file = wanted.output / CONFIG
    if not file.exists():
        return False
    if other := compare(config.load(file), wanted, ignored):
        raise ValueError(
            f"{wanted.output} must be a run with the same settings, got {', '.join(other)}: move it"
            " away or choose another --output"
        )
    return True


def _flat(settings: config.Train) -> dict[str, Any]:
    """The fields by their names with dots, as JSON has them."""

    def walk(values: dict[str, Any], before: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in values.items():
            inner = isinstance(value, dict)
            result |= walk(value, f"{before}{name}.") if inner else {before + name: value}
        return result

    return walk(json.loads(config.to_json(settings)), "")
