from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.resources import config_dir
from streamer.training.tags.config import TagsConfig, load_tags_config

FILE = config_dir() / "training" / "tags.toml"


def test_the_file_that_ships_says_every_default() -> None:
    assert load_tags_config(FILE) == TagsConfig() == load_tags_config()

    def check(tree: dict[str, Any], config: Any) -> None:
        assert set(tree) == {field.name for field in fields(config)}
        for name, value in tree.items():
            if is_dataclass(getattr(config, name)):
                check(value, getattr(config, name))

    check(tomllib.loads(FILE.read_text(encoding="utf-8")), TagsConfig())


def test_flags_outweigh_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(
        'folds = 3\n[rename]\ndog_bark = "Bark"\n[fit]\nhead = "wa-tr"\nepochs = 7\n[fit.draws]\nbatch = 8\n'
    )
    config = load_tags_config(path, folds=None, head=None, width=0, epochs=2)
    assert (config.folds, config.fit.head, config.fit.width, config.fit.epochs) == (3, "wa-tr", 0, 2)
    assert config.fit.draws.batch == 8
    assert config.rename == {"dog_bark": "Bark"}
    assert load_tags_config(path, folds=0).folds == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fit]\nepoch = 3", r"unknown key 'fit\.epoch'.*Did you mean 'epochs'"),
        ("[windows]\nlengths = []", "windows.lengths: expected more than 0"),
        ("[windows]\nlengths = [40.0]", "at most 30 seconds"),
        ("[windows]\nlongest = 31", "windows.longest: expected at most 30"),
        ('context = "half"', "context: expected one of auto, short, full, found 'half'"),
        ('encoder_precision = "int8"', "encoder_precision: expected one of"),
        ('[fit]\nhead = "best"', "head: expected one of"),
        ("[rename]\nx = 3", r"rename\.x: expected text"),
    ],
)
def test_mistakes_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_tags_config(path)
