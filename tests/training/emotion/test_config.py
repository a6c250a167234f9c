"""Settings of `train emotion`; that the file has every default is in tests/cli/test_train_emotion.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamer.errors import StreamerError
from streamer.training.emotion.config import EmotionConfig, FrozenConfig


@pytest.mark.parametrize("wrong", [{"pooling": "median"}, {"epochs": 0}, {"batch": 0}, {"unfreeze": -1}])
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(StreamerError, match="expected pooling mean, sum, max"):
        replace(EmotionConfig(), **wrong).checked()


@pytest.mark.parametrize("wrong", [{"width": 0}, {"epochs": 0}, {"batch": 0}, {"dropout": 1.0}])
def test_a_head_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(StreamerError, match=r"\[frozen\]: expected a width"):
        EmotionConfig(frozen=replace(FrozenConfig(), **wrong)).checked()
