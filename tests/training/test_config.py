from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.resources import config_dir, presets
from streamer.training.config import BundledConfig, load_config
from tests.training.corpora import CONFIG


def test_the_file_that_ships_says_every_default() -> None:
    path = config_dir() / "training" / "bundled.toml"
    assert load_config(path) == BundledConfig() == load_config()
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    default = BundledConfig()
    assert set(tree) == set(BundledConfig.__slots__)
    assert set(tree["batch"]["shares"]) == set(type(default.batch.shares).__slots__)
    for section in ("speech", "tags", "batch"):
        assert set(tree[section]) == set(type(getattr(default, section)).__slots__)
    assert "bundled" not in presets()  # it is no preset of the daemon


@pytest.mark.parametrize("name", ["continue", "timestamps"])
def test_the_later_trainings_files_are_of_this_recipe(name: str) -> None:
    config = load_config(config_dir() / "training" / f"{name}.toml")
    assert config != BundledConfig()
    assert config.speech.only_decoder == (name == "timestamps")
    assert config.vocabulary == BundledConfig().vocabulary


def test_what_a_file_says_holds_and_flags_outweigh_it(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(CONFIG)
    config = load_config(tmp_path / "my.toml", steps=9, seed=5)
    assert config.speech_sets == {"talk": 1.0}
    assert config.sound_sets == ("sounds",)
    assert (config.speech.steps, config.speech.warmup, config.seed) == (9, 1, 5)
    assert config.speech.lr == BundledConfig().speech.lr
    assert load_config(tmp_path / "my.toml").speech.steps == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vocabulry = 3", r"my\.toml: unknown key 'vocabulry'.*Did you mean 'vocabulary'"),
        ("[speech]\nstep = 3", r"unknown key 'speech\.step': \[speech\] has steps.*Did you mean 'steps'"),
        ("[tags]\nepochs = 2.5", r"tags\.epochs: expected a whole number, found 2\.5"),
        ("[batch]\nspoil = 1", r"batch\.spoil: expected true or false, found 1"),
        ("speech = 3", r"speech: expected a table, found 3"),
        ('sound_sets = "esc10"', r"sound_sets: expected a list, found 'esc10'"),
        ('sound_sets = ["a", 3]', r"sound_sets\[1\]: expected text, found 3"),
        ('[speech_sets]\nan4 = "often"', r"speech_sets\.an4: expected a number, found 'often'"),
        ("seed = true", r"seed: expected a whole number, found True"),
        ("seed = ", r"my\.toml: expected TOML"),
    ],
)
def test_mistakes_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "my.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: cannot be read"):
        load_config(tmp_path / "nothing.toml")
