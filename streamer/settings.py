"""Where settings come from: defaults < preset or file < environment < flags.

Every layer is reduced to plain values by key (`server.port`), each with its origin, so that an error
can name the file, the variable or the flag that a wrong value came from, and `streamer config show`
can say it of right ones. Values are never converted silently: text is read as the setting's type only
where text is all there is (environment, flags).

    environment     STREAMER_SERVER__PORT=80, or STREAMER_SERVER_PORT=80: two spellings of server.port
                    lists and tables in TOML: STREAMER_STREAMS='[{source = "mic"}]'
    file            may begin with `extends = "captions"`: a preset, or a path seen from the file's folder
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from streamer import resources
from streamer.audio.redact import redact
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.keys import (
    Setting,
    accepts,
    describe,
    is_key,
    is_list,
    is_table,
    is_text,
    leaves,
    model_of,
    nest,
    options,
    plain,
    quote,
    setting_at,
    settings,
    split,
)

PREFIX = "STREAMER_"

RESERVED = frozenset({"STREAMER_CACHE", "STREAMER_CONFIG", "STREAMER_MODELS", "STREAMER_TORCH"})
"""Variables that are not settings: the preset or file to load, the folder of fetched models, bin/setup's."""

IGNORED = re.compile(r"STREAMER_(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP)(_.*)?|TEST_.*)")
"""Variables that others set: Kubernetes for a service called streamer, and our own tests."""

SECRET = frozenset({"server.token"})

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that hold, and for every key that was set where its value came from."""

    config: Config
    origin: Mapping[str, str]
    """`server.port` -> `config/captions.toml`, `environment STREAMER_SERVER__PORT` or `flag --port`."""


Layer = dict[str, tuple[Any, str]]
"""Values by key, with their origins."""


def load(
    preset_or_file: str | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that a preset or file, an environment and the command line's flags add up to.

    `overrides` holds values by key (`server.port`); None means the flag was not given. `flags` names the
    flag of a key where it is not `--` and the key's last part. Raises ConfigError.
    """
    env = env or {}
    chosen = preset_or_file or env.get("STREAMER_CONFIG")
    merged: Layer = {}
    if chosen:
        merged |= _file_layer(find_config(chosen), ())
    merged |= _environment_layer(env)
    merged |= _override_layer(overrides or {}, flags or {})
    return Settings(_validate(merged), {key: origin for key, (_, origin) in merged.items()})


def find_config(preset_or_file: str, folder: Path | None = None) -> Path:
    """The file of a preset, or of a path (relative to `folder` if given). Raises ConfigError."""
    presets = resources.presets()
    if preset_or_file in presets:
        return presets[preset_or_file]
    path = (folder or Path()) / Path(preset_or_file).expanduser()
    if path.is_file():
        return path
    raise ConfigError(
        f"no preset and no file '{preset_or_file}': expected the path of a TOML file or one of "
        f"{', '.join(presets)}.{resources.nearest(preset_or_file, presets)}"
    )


def rows(loaded: Settings) -> list[tuple[str, Any, str]]:
    """(key, value, origin) of every setting, for people: tokens and passwords are masked."""
    found: list[tuple[str, Any, str]] = []
    for key, setting in settings().items():
        value: Any = loaded.config
        for part in key.split("."):
            value = getattr(value, part)
        bare = plain(value)
        if setting.table and bare:
            for path, leaf in leaves(bare, key):
                found.append((path, leaf, loaded.origin.get(path, DEFAULT)))
        else:
            shown = "********" if key in SECRET and bare else mask(bare)
            found.append((key, shown, loaded.origin.get(key, DEFAULT)))
    return found


def mask(value: Any) -> Any:
    """`value` without the secrets of any URL in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [mask(item) for item in value]
    if isinstance(value, dict):
        return {key: mask(item) for key, item in value.items()}
    return value


# ---------------------------------------------------------------- layers


def _file_layer(path: Path, chain: tuple[Path, ...]) -> Layer:
    """What a file says, on top of what it extends."""
    origin = _display(path)
    if path.resolve() in chain:
        circle = " -> ".join(one.name for one in (*chain, path))
        raise ConfigError(f"{origin}: `extends` goes round in a circle: {circle}")
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: expected TOML, found a mistake: {error}") from None
    except OSError as error:
        raise ConfigError(f"{origin}: cannot be read: {error.strerror}") from None
    layer: Layer = {}
    base = tree.pop("extends", None)
    if base is not None:
        if not isinstance(base, str):
            raise ConfigError(f"{origin}: extends: expected a preset or a path in quotes, found {base!r}")
        try:
            layer = _file_layer(find_config(base, path.parent), (*chain, path.resolve()))
        except ConfigError as error:
            raise ConfigError(f"{origin}: extends: {error}") from None
    return layer | _flatten(tree, origin)


def _environment_layer(env: Mapping[str, str]) -> Layer:
    """What the variables that begin with STREAMER_ say."""
    layer: Layer = {}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in RESERVED or IGNORED.fullmatch(name):
            continue
        if name == "STREAMER_PORT" and env[name].startswith("tcp://"):  # a service link of Kubernetes
            continue
        key, origin = _environment_key(name), f"environment {name}"
        if key in layer:
            raise ConfigError(f"{origin}: {key} is set already by {layer[key][1]}: keep one of them")
        value = _read_text(settings()[key], env[name], origin)
        layer |= _flatten(nest(key, value), origin)
    return layer


def _environment_key(name: str) -> str:
    """The key that a variable stands for."""
    rest = name.removeprefix(PREFIX).lower()
    exact = rest.replace("__", ".")
    if exact in settings():
        return exact
    same = [key for key in settings() if key.replace(".", "_") == rest]
    if len(same) == 1:
        return same[0]
    spelled = {PREFIX + key.replace(".", "__").upper(): key for key in settings()}
    if same:
        names = " or ".join(known for known, key in spelled.items() if key in same)
        raise ConfigError(f"environment {name}: could mean several settings; write {names}")
    raise ConfigError(f"environment {name}: there is no such setting.{resources.nearest(name, spelled)}")


def _override_layer(overrides: Mapping[str, Any], flags: Mapping[str, str]) -> Layer:
    """What the command line says."""
    layer: Layer = {}
    for key, value in overrides.items():
        if value is None:
            continue
        origin = f"flag {flags.get(key) or '--' + key.rsplit('.', 1)[-1].replace('_', '-')}"
        if not is_key(key):
            raise ConfigError(f"{origin}: expected a key such as server.port, found '{key}'")
        setting = setting_at(key) if isinstance(value, str) else None
        if setting:
            value = _read_text(setting, value, origin)  # noqa: PLW2901 - the same value, as its type
        layer |= _flatten(nest(key, value), origin)
    return layer


# ---------------------------------------------------------------- one layer's values


def _read_text(setting: Setting, text: str, origin: str) -> Any:
    """Text from the environment or a flag as the setting's type: itself for text, TOML for the rest."""
    if is_text(setting.annotation):
        return text
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if accepts(setting.annotation, bool):
        flag = {**words, "1": True, "0": False}.get(text.strip().lower())
        if flag is not None:
            return flag
        if options(setting.annotation) == (bool,):
            raise ConfigError(f"{origin}: {setting.key}: expected true or false, found '{text}'")
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        kind = describe(setting)
        raise ConfigError(f"{origin}: {setting.key}: expected {kind}, found '{mask(text)}'") from None


def _flatten(tree: Mapping[str, Any], origin: str) -> Layer:
    """A tree of tables as values by key; keys that no setting has are refused."""
    layer: Layer = {}
    _collect(tree, Config, "", origin, layer)
    return layer


def _collect(tree: Mapping[str, Any], model: type[BaseModel], prefix: str, origin: str, layer: Layer) -> None:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if name not in model.model_fields:
            raise ConfigError(_unknown(key, name, model, prefix, origin))
        annotation = model.model_fields[name].annotation
        section = model_of(annotation)
        if section is None and is_table(annotation):
            entries = {f"{key}.{quote(label)}": one for label, one in _table(value, key, origin).items()}
            layer |= {path: (one, origin) for path, one in entries.items()}
        elif section is None:
            layer[key] = (value, origin)
        elif is_list(annotation):
            for index, entry in enumerate(value if isinstance(value, list) else ()):
                if isinstance(entry, Mapping):
                    _collect(entry, section, f"{key}[{index}].", origin, {})  # refuses unknown keys
            layer[key] = (value, origin)
        elif not is_table(annotation):
            _collect(_table(value, key, origin), section, f"{key}.", origin, layer)
        else:
            for label, entry in _table(value, key, origin).items():
                path = f"{key}.{quote(label)}"
                _collect(_table(entry, path, origin), section, f"{path}.", origin, layer)


def _table(value: Any, key: str, origin: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{origin}: {key}: expected a table, found {mask(value)!r}")
    return value


def _unknown(key: str, name: str, model: type[BaseModel], prefix: str, origin: str) -> str:
    """Why a key is refused, with the nearest that is not: here first, then anywhere."""
    hint = resources.nearest(name, model.model_fields)
    if not hint:
        elsewhere = [known for known in settings() if known.rsplit(".", 1)[-1] == name]
        hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else resources.nearest(key, settings())
    where = f"[{prefix.rstrip('.')}]" if prefix else "the top level"
    return f"{origin}: unknown key '{key}': {where} has {', '.join(model.model_fields)}.{hint}"


def _validate(merged: Layer) -> Config:
    """The model of all layers together. Strict JSON mode: tables become models, no value changes its type."""
    tree: dict[str, Any] = {}
    for key, (value, origin) in merged.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{origin}: {key}: expected a finite number, found {value}")
        branch = tree
        *parents, leaf = split(key)
        for part in parents:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
    try:
        return Config.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(one, merged) for one in error.errors())) from None


def _explain(error: Any, merged: Layer) -> str:
    """One complaint of pydantic, with the origin of the value it is about."""
    path = [str(part) for part in error["loc"]]
    message = str(error["msg"]).removeprefix("Value error, ")
    for length in range(len(path), 0, -1):
        key = ".".join(quote(part) if part not in Config.model_fields else part for part in path[:length])
        if key in merged:
            found = "a secret" if key in SECRET else repr(mask(error["input"]))
            within = "".join(f"[{part}]" for part in path[length:])
            return f"{merged[key][1]}: {key}{within}: {message[:1].lower()}{message[1:]}, found {found}"
    # A rule between settings of a section: name everything of it that somebody has set.
    section = ".".join(path)
    involved = ", ".join(f"{k} from {o}" for k, (_, o) in merged.items() if k.startswith(f"{section}."))
    return f"[{section}]: {message} (set here: {involved or 'nothing'})"


def _display(path: Path) -> str:
    """A path as the user knows it: presets by their place in the checkout, others as they were given."""
    return f"config/{path.name}" if path in resources.presets().values() else str(path)
