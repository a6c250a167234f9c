"""The engine, and the threads around it, on a CTC checkpoint of the wav2vec 2.0 family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.ngram import WordModel
from streamer.config import Config, ModelConfig
from streamer.engine import Engine, Request, load_engine
from streamer.errors import ConfigError
from streamer.events import Event, TranscriptFinal, TranscriptPartial
from streamer.nn.speech import unit_variance
from streamer.training.ngrams import NgramConfig, estimate
from tests.test_pipeline import Playback, conversation, cut, essence, random_sizes, run
from tests.tiny_speech import save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

ENGLISH = DecodeOptions(language="en")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model that writes many words that mean nothing, surely enough, and transformers' own copy of it."""
    folder = tmp_path_factory.mktemp("wav2vec2")

    def talkative(model: Any) -> None:
        head = model.lm_head
        head.weight.mul_(200)
        head.weight[[4, 5]] = head.weight[[5, 4]]  # what it hears most often is the space
        heard = model(torch.from_numpy(unit_variance(conversation()))[None]).logits[0]
        head.bias -= heard.mean(0)
        head.bias[0] += 1.2 * heard.std(0)[0]
        head.bias[1:4] = -1e4  # the specials, which transformers would write out

    return folder, save_speech(folder, large=True, change=talkative)


def engine_of(checkpoint: tuple[Path, Any], **settings: Any) -> Engine:
    return load_engine(ModelConfig(name=str(checkpoint[0]), threads=1, **settings))


@pytest.fixture
def engine(checkpoint: tuple[Path, Any]) -> Engine:
    return engine_of(checkpoint)


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16000))).astype(np.float32)


def test_the_text_is_what_transformers_decodes_greedily(checkpoint: tuple[Path, Any], engine: Engine) -> None:
    import transformers

    tokenizer: Any = transformers.Wav2Vec2CTCTokenizer
    reader = tokenizer(str(checkpoint[0] / "vocab.json"))
    for seconds in (0.9, 2.0):
        samples = noise(seconds)
        with torch.inference_mode():
            logits = checkpoint[1](torch.from_numpy(unit_variance(samples))[None]).logits[0]
        (result,) = engine.run([Request(samples, ENGLISH)])
        assert result.decoded is not None
        assert result.decoded.text == reader.decode(logits.argmax(-1)).strip()
        assert len(result.decoded.text) > 5


def test_a_batch_of_several_lengths_is_each_alone(engine: Engine) -> None:
    """Lengths of one context, as the scheduler batches them."""
    requests = [Request(noise(seconds, i), ENGLISH) for i, seconds in enumerate((1.5, 1.03, 1.6))]
    together = engine.run(requests)
    for request, result in zip(requests, together, strict=True):
        (alone,) = engine.run([request])
        assert alone.decoded is not None
        assert result.decoded is not None
        assert (alone.decoded.tokens, alone.frames) == (result.decoded.tokens, result.frames)
        assert [w.text for w in alone.words] == [w.text for w in result.words]
    assert engine.encoder_passes == 6


def test_words_lie_where_their_letters_were_heard(engine: Engine) -> None:
    (result,) = engine.run([Request(noise(3.0), ENGLISH)])
    assert result.decoded is not None
    assert [word.text for word in result.words] == result.decoded.text.split()
    assert len(result.words) > 1
    for word, following in zip(result.words, [*result.words[1:], None], strict=True):
        assert 0 <= word.start < word.end <= (following.start if following else 149)


def test_a_word_model_guides_it_in_its_own_case(checkpoint: tuple[Path, Any], tmp_path: Path) -> None:
    """Words in small letters help a head that writes capitals: what it finds is among them more often."""

    def words(**settings: Any) -> list[str]:
        engine = engine_of(checkpoint, **settings)
        assert engine.model.ctc is not None
        engine.model.ctc.out.weight.mul_(0.02)  # less sure, so that it can be guided
        engine.model.ctc.out.bias.mul_(0.02)
        return [word.text for word in engine.run([Request(noise(3.0), ENGLISH)])[0].words]

    greedy = words()
    known = [word.lower() for word in greedy[:3]]
    WordModel.of(estimate([(" ".join(known), 5)], NgramConfig(100, 1, 1))).save(
        tmp_path / "words.safetensors"
    )
    found = words(words=str(tmp_path / "words.safetensors"))
    assert all(word.isupper() for word in found)
    assert sum(word.lower() in known for word in found) > sum(word.lower() in known for word in greedy) >= 3


def events_of(engine: Engine, blocks: list[NDArray[np.float32]], policy: str) -> list[Event]:
    config = Config.model_validate({"live": {"policy": policy}})
    return run([Playback(blocks)], config, engine)[0]


@pytest.mark.parametrize("sizes", [lambda: 160, random_sizes()], ids=["10ms", "random"])
def test_streamed_equals_offline(engine: Engine, sizes: Callable[[], int]) -> None:
    """Every utterance's text and words are those of one pass over its samples, however they arrive."""
    audio = conversation()
    events = events_of(engine, cut(audio, sizes), "off")
    finals = [event for event in events if isinstance(event, TranscriptFinal)]
    assert len(finals) >= 2
    for final in finals:
        start = round(final.start * 16000)
        (offline,) = engine.run([Request(audio[start : round(final.end * 16000)], ENGLISH)])
        assert offline.decoded is not None
        assert final.text == offline.decoded.text
        starts = [round(start / 16000 + word.start / 50, 3) for word in offline.words]
        assert [word.start for word in final.words] == pytest.approx(starts, abs=0.002)
    wanted = ("transcript.partial", "transcript.final")
    assert essence(events, wanted) == essence(events_of(engine, [audio], "off"), wanted)


@pytest.mark.parametrize("policy", ["alignatt", "agreement"])
def test_what_was_stable_is_in_the_final(engine: Engine, policy: str) -> None:
    events = events_of(engine, [conversation()], policy)
    finals = {event.utterance: event.text for event in events if isinstance(event, TranscriptFinal)}
    partials = [event for event in events if isinstance(event, TranscriptPartial)]
    assert any(partial.stable for partial in partials)
    for partial in partials:
        assert partial.text.startswith(partial.stable)
        assert finals[partial.utterance].startswith(partial.stable)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "attention"}, "has no decoder"),
        ({"task": "translate"}, "only what is said"),
    ],
)
def test_what_it_cannot_do(checkpoint: tuple[Path, Any], settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engine_of(checkpoint, **settings)


def test_an_encoder_without_words(tmp_path: Path) -> None:
    save_speech(tmp_path, kind="Model")
    with pytest.raises(ConfigError, match="expected a checkpoint with a CTC head for words"):
        load_engine(ModelConfig(name=str(tmp_path), threads=1))
