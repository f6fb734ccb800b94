"""Configurations in files: a run's whole configuration is ``config.json`` beside its results."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal

from tel_segmentation.config.run import Train

PUBLIC = ("voc", "cityscapes", "ade20k")
"""The kinds of public data sets in ``Data.source``, KIND:FOLDER."""


def to_json(config: Any) -> str:
    """The configuration as JSON, with all its fields."""
    return json.dumps(dataclasses.asdict(config), indent=1, default=str)


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """The values of a configuration as JSON has it; the names of nested fields have dots."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        values |= flat(value, f"{before}{name}.") if inner else {before + name: value}
    return values


def load(path: Path) -> Train:
    """The configuration that a run saved.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not the JSON of a configuration.
    """
    return parse(path.read_bytes(), str(path))


def parse(text: str | bytes, name: str) -> Train:
    """A configuration from its JSON.

    Raises:
        ValueError: it is none; the message has ``name``, where the text is from.
    """
    try:
        values = json.loads(text)
        if isinstance(values, dict) and isinstance(values.get("data"), dict):
            values["data"].setdefault("labels", "nearest")  # as runs without this option had it
        options: Train = build(Train, values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name} must be a run's configuration, got: {error}") from error
    return options


def moved(options: Train, output: Path) -> Train:
    """The same configuration with another output folder."""
    return dataclasses.replace(options, output=output)


def absolute(options: Train) -> Train:
    """The same configuration with absolute paths, so that it means the same in every folder."""
    data, loss, model = options.data, options.loss, options.model
    data = dataclasses.replace(data, source=_source(data.source), annotation=_annotation(data))
    if Path(_path(model.weights)).is_file():
        model = dataclasses.replace(model, weights=_path(model.weights))
    loss = dataclasses.replace(loss, teachers=tuple(_path(each) for each in loss.teachers))
    return dataclasses.replace(options, data=data, model=model, loss=loss)


def _source(source: str) -> str:
    kind, colon, folder = source.partition(":")
    if kind == "scenes" and colon:
        return source
    if kind in PUBLIC and colon:
        return f"{kind}:{_path(folder)}" if folder else source
    return _path(source) if source else source


def _annotation(data: Any) -> str:
    """A folder's path becomes absolute; the name of an annotation stays as it is."""
    name: str = data.annotation
    beside = Path(_path(data.source)).parent / "annotations" / name
    folder = _path(name)
    return folder if not beside.is_dir() and Path(folder).is_dir() else name


def _path(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:  # ~NAME of nobody
        raise ValueError(f"{path} must be a path, got: {error}") from error


def build(kind: type, values: Any) -> Any:
    """Restores a dataclass from the JSON of its ``dataclasses.asdict``.

    Fields that are absent get their defaults.

    Raises:
        ValueError: a name is not that of a field, or a value is not allowed.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be an object, got {values!r:.80}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} must have no field called {', '.join(unknown)}")
    restored = {}
    for name, value in values.items():
        try:
            restored[name] = _restore(hints[name], value)
        except _MismatchError as error:
            raise ValueError(f"{name}: {error}") from error
    return kind(**restored)


class _MismatchError(ValueError):
    """A value is not what its field may have."""


def _restore(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _first(hint, value)
    if origin is Literal and value in options:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = options[:1] * len(value) if options[1:] == (...,) else options
        if len(kinds) == len(value):
            return tuple(_restore(kind, each) for kind, each in zip(kinds, value, strict=True))
    if hint is Path and isinstance(value, (str, Path)) and "\0" not in str(value):
        return Path(value)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return value
    if hint in (int, str, bool, types.NoneType) and type(value) is hint:
        return value
    raise _MismatchError(f"expected {_wanted(hint)}, got {value!r:.80}")


def _first(union: Any, value: Any) -> Any:
    """The value as the first of several types that it can be."""
    for option in typing.get_args(union):
        try:
            return _restore(option, value)
        except _MismatchError:
            continue
    raise _MismatchError(f"expected {_wanted(union)}, got {value!r:.80}")


def _wanted(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_wanted, options))
    if origin is Literal:
        return f"one of {options}" if len(options) > 1 else repr(*options)
    return "None" if hint is types.NoneType else getattr(hint, "__name__", str(hint))
