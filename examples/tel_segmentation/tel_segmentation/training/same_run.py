"""Whether the run in a folder has the wanted configuration, and so can be continued."""

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
    """The fields that differ, each as ``name: found value instead of wanted value``.

    Args:
        found: a configuration.
        wanted: the configuration that it is compared with.
        ignored: names of fields that may differ, nested ones with dots: ``data.workers``.
    """
    values, wanted_values = _flat(found), _flat(wanted)
    return [
        f"{name}: {values.get(name)} instead of {value}"
        for name, value in wanted_values.items()
        if values.get(name) != value and name not in ignored
    ]


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
    if other := compare(config.load(file), wanted, ignored):
        raise ValueError(
            f"{wanted.output} must be a run with the same settings, got {', '.join(other)}: move it"
            " away or choose another --output"
        )
    return True


def _flat(settings: config.Train) -> dict[str, Any]:
    """The fields with their JSON values; the names of nested fields have dots."""

    def walk(values: dict[str, Any], before: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in values.items():
            inner = isinstance(value, dict)
            result |= walk(value, f"{before}{name}.") if inner else {before + name: value}
        return result

    return walk(json.loads(config.to_json(settings)), "")
