from __future__ import annotations

import tomllib

from streamer.evaluation.tags_config import MixtureConfig, TagsEvalConfig
from streamer.resources import config_dir, presets
from streamer.training.config import read_settings


def test_the_file_that_ships_says_every_default() -> None:
    path = config_dir() / "evaluation" / "tags.toml"
    assert read_settings(TagsEvalConfig, path) == TagsEvalConfig()
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(tree) == set(TagsEvalConfig.__slots__)
    assert set(tree["mixtures"]) == set(MixtureConfig.__slots__)
    assert "tags" not in presets()  # it is no preset of the daemon
