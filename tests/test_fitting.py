"""What a model can do of the settings, and what it says of the rest."""

from __future__ import annotations

import pytest

from streamer.config import Config
from streamer.engine import Engine
from streamer.fitting import fitting
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize(("decoder", "warned"), [("ctc", True), ("attention", False)])
def test_what_only_a_decoder_heeds_is_said_of_a_branch(
    decoder: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(tiny_model(decoder=decoder), tiny_tokenizer())
    config = Config.model_validate({"text": {"prompt": "x", "beam": 5, "hotwords": ["a"]}})
    assert fitting(config, engine) == config
    assert ("text.prompt, text.beam: the CTC branch of tiny takes no notice" in caplog.text) is warned
    assert not [record for record in caplog.records if "hotwords" in record.getMessage()]
