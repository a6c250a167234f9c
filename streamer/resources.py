"""Finds the data: models and presets beside the package in a checkout, inside it in an installed wheel.

Models that the user fetches live in a folder of their own, `user_models_dir()`. Nothing here opens a
file: what is in a model is the business of whoever loads it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from streamer.errors import ModelError, StreamerError

PACKAGE = Path(__file__).resolve().parent

MODEL_FILES = ("model.toml", "config.json")
"""A folder with one of these is a model: one of ours, or one in the Hugging Face layout."""

HEAD_FILE = "head.toml"
"""A folder with it is a tag head, to go with a model."""

RELEASED_HEAD = ".pth"
"""Single files that are a tag head: Whisper-AT's."""

CHECKPOINTS = (".pt", ".safetensors")
"""Single files that are a model: openai-whisper's, and bare tensors."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the most similar of `choices`, empty if none is similar."""
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[found[0]]}'?" if found else ""


def data_dir(folder: str) -> Path:
    """The folder `models` or `config` that ships with the code."""
    candidates = (PACKAGE / "_data" / folder, PACKAGE.parent / folder)
    for path in candidates:
        if path.is_dir():
            return path
    raise StreamerError(
        f"expected the data folder '{folder}' at {candidates[0]} (installed) or {candidates[1]} (checkout), "
        "found neither: the installation is incomplete, install it again"
    )


def models_dir() -> Path:
    """Where the models that ship with the code are."""
    return data_dir("models")


def config_dir() -> Path:
    """Where the presets are."""
    return data_dir("config")


def presets() -> dict[str, Path]:
    """The presets by name."""
    return {path.stem: path for path in sorted(config_dir().glob("*.toml"))}


def user_models_dir() -> Path:
    """Where fetched models are kept: STREAMER_MODELS, else the XDG data folder. It need not exist yet."""
    chosen = os.environ.get("STREAMER_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share") / "streamer" / "models"


def user_cache_dir() -> Path:
    """Where what can be made again is kept: STREAMER_CACHE, else the XDG cache folder. It need not exist."""
    chosen = os.environ.get("STREAMER_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "streamer"


def is_model(path: Path) -> bool:
    """Whether `path` looks like a model: a folder with a description, or a checkpoint file."""
    if path.is_dir():
        return any((path / name).is_file() for name in MODEL_FILES)
    return path.suffix in CHECKPOINTS and path.is_file()


def is_head(path: Path) -> bool:
    """Whether `path` looks like a tag head: a folder with a description, or a released file."""
    if path.is_dir():
        return (path / HEAD_FILE).is_file()
    return path.suffix == RELEASED_HEAD and path.is_file()


def models() -> dict[str, Path]:
    """Every model that is there by name; one that ships hides a fetched one of the same name."""
    return _listed(is_model)


def heads() -> dict[str, Path]:
    """Every tag head that is there by name, in the same places as models."""
    return _listed(is_head)


def _listed(wanted: Callable[[Path], bool]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    shipped = [models_dir()] if _has("models") else []
    for folder in (*shipped, user_models_dir()):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if wanted(path):
                    found.setdefault(path.name if path.is_dir() else path.stem, path)
    return found


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder or checkpoint file of a model: a name under `models/`, a fetched model's name, or a path.

    Raises ModelError, naming what there is, where it is none of them.
    """
    text = os.fspath(name_or_path)
    known = models()
    if text in known:
        return known[text]
    path = Path(text).expanduser()
    if path.exists():
        if is_model(path):
            return path
        raise ModelError(
            f"expected a model at {path}: a folder with {' or '.join(MODEL_FILES)}, "
            f"or a file ending in {' or '.join(CHECKPOINTS)}; found neither"
        )
    names = ", ".join(known) or "none"
    raise ModelError(
        f"no model '{text}': expected one of the models here ({names}) or the path of one."
        f"{nearest(text, known)} Fetch an official Whisper with: streamer models pull NAME"
    )


def find_head(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder or file of a tag head: its name among the models, or its path.

    Raises ModelError, naming what there is, where it is neither.
    """
    text = os.fspath(name_or_path)
    known = heads()
    name = text.removesuffix(RELEASED_HEAD)
    if name in known:
        return known[name]
    path = Path(text).expanduser()
    if is_head(path):
        return path
    what = f"{path} is none" if path.exists() else f"there is no '{text}'"
    names = ", ".join(known) or "none"
    raise ModelError(
        f"expected a tag head: one of those here ({names}), or the path of a folder with {HEAD_FILE} or of a "
        f"released file ending in {RELEASED_HEAD}; {what}.{nearest(text, known)} "
        "Fetch a released one with: streamer models pull NAME_ori"
    )


def find_sample() -> Path:
    """The sample audio that ships with the code. StreamerError where it is missing."""
    folder = PACKAGE / "samples"
    for path in sorted(folder.glob("demo.*")):
        return path
    raise StreamerError(f"expected the sample audio {folder / 'demo.*'}, found none: install streamer again")


def _has(folder: str) -> bool:
    return any((parent / folder).is_dir() for parent in (PACKAGE / "_data", PACKAGE.parent))
