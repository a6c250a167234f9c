"""What can be told, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamer.errors import ConfigError
from streamer.resources import config_dir
from streamer.training.config import read_settings
from streamer.training.context.config import ContextConfig, Draws


def test_the_file_of_defaults_has_them() -> None:
    told = read_settings(ContextConfig, config_dir() / "training" / "context.toml")
    assert told == ContextConfig()
    assert told.checked() is told


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ContextConfig(steps=-1), "steps of 0 or more"),
        (ContextConfig(judged=0), "judged of 1 or more"),
        (ContextConfig(margins=()), "the least first"),
        (ContextConfig(margins=(1.6, 0.8)), "the least first"),
        (ContextConfig(margins=(-1.0, 0.8)), "0 s or more"),
        (ContextConfig(draws=Draws(shortest=0.1)), "0.4 ≤ draws.shortest"),
        (ContextConfig(draws=Draws(longest=31.0)), "draws.longest ≤ 30"),
        (ContextConfig(draws=replace(Draws(), full=1.5)), "draws.full from 0 to 1"),
        (ContextConfig(draws=Draws(margin=-0.1)), "draws.margin of 0 s or more"),
    ],
)
def test_what_makes_no_sense(wrong: ContextConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong.checked()
