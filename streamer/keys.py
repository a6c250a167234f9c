"""The settings by key: `server.port` is `Config.server.port`, `sounds.labels."Dog bark".threshold` a table's.

What `streamer.settings` knows about the shape of Config, and nothing about any single setting.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from streamer.config import Config


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of Config's tree."""

    key: str
    annotation: Any
    table: bool = False
    """A table whose keys are names (`sounds.labels`)."""


@cache
def settings() -> dict[str, Setting]:
    """Every setting by key, in the order of the model."""
    return {setting.key: setting for setting in walk(Config, "")}


def setting_at(key: str) -> Setting | None:
    """The setting of a key, also of one within a table; None if there is none."""
    found = settings().get(key)
    parts = split(key)
    for table in (one for one in settings().values() if one.table and key.startswith(f"{one.key}.")):
        section = model_of(table.annotation)
        within = parts[len(split(table.key)) :]
        if section and len(within) == 2 and within[1] in section.model_fields:
            found = Setting(key, section.model_fields[within[1]].annotation)
    return found


def walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    """The leaves of `model`, with `prefix` before their keys."""
    for name, field in model.model_fields.items():
        section = model_of(field.annotation)
        if section is None or is_table(field.annotation) or is_list(field.annotation):
            yield Setting(f"{prefix}{name}", field.annotation, is_table(field.annotation))
        else:
            yield from walk(section, f"{prefix}{name}.")


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds: itself, in a list, or by name in a table; None for plain values."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def is_table(annotation: Any) -> bool:
    """Whether it is a table whose keys are names."""
    return typing.get_origin(annotation) is dict


def is_list(annotation: Any) -> bool:
    """Whether it is a list."""
    return typing.get_origin(annotation) is list


def options(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the one type; `Annotated` taken off."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return tuple(one for part in typing.get_args(annotation) for one in options(part))
    if typing.get_origin(annotation) is typing.Annotated:
        return options(typing.get_args(annotation)[0])
    return (annotation,)


def accepts(annotation: Any, kind: type) -> bool:
    """Whether `kind` is the type, or one of its alternatives."""
    return kind in options(annotation)


def is_text(annotation: Any) -> bool:
    """Whether text stands for itself there."""
    return any(one is str or typing.get_origin(one) is Literal for one in options(annotation))


def describe(setting: Setting) -> str:
    """What is expected of a setting that is neither text nor true or false."""
    if setting.table:
        return "a table in TOML"
    if any(is_list(one) for one in options(setting.annotation)):
        return "a list in TOML" if is_list(setting.annotation) else "true, false or a list in TOML"
    return "a number"


def nest(key: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for `a.b`."""
    for part in reversed(split(key)):
        value = {part: value}
    return typing.cast("dict[str, Any]", value)


def quote(name: str) -> str:
    """A table's key as TOML would have it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


_PART = r'"(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"|[^."]+'
"""A name, or any text as JSON has it."""


def is_key(text: str) -> bool:
    """Whether `text` can be taken apart: names with dots between, in quotes where they need them."""
    return re.fullmatch(rf"(?:{_PART})(?:\.(?:{_PART}))*", text) is not None


def split(key: str) -> list[str]:
    """The parts of a key, quotes taken off."""
    parts = re.findall(_PART, key)
    return [json.loads(part, strict=False) if part.startswith('"') else part for part in parts]


def plain(value: Any) -> Any:
    """A setting's value without models, only with what was set in them."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The values of a tree of tables with their keys."""
    for name, value in tree.items():
        path = f"{prefix}.{quote(name)}"
        if isinstance(value, Mapping):
            yield from leaves(value, path)
        else:
            yield path, value
