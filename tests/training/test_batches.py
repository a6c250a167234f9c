from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.timebase import MEL_HOP, TOKEN
from streamer.training.augment import SpoilConfig
from streamer.training.batches import IGNORE, Batch, BatchConfig, SpeechBatches, voiced
from streamer.training.corpus import Clip, Pack
from tests.tiny import tiny_tokenizer
from tests.training.corpora import RATE, make_pack, noise, speech_pack

TOKENIZER = tiny_tokenizer()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return speech_pack(tmp_path_factory.mktemp("speech"))


def batches(
    pack: Pack, config: BatchConfig | None = None, seed: int = 0, noises: bool = True
) -> SpeechBatches:
    config = config or BatchConfig(seconds=6.0)
    background = [noise(1.0, 9)] if noises else []
    return SpeechBatches([(pack, list(range(len(pack))), 1.0)], background, TOKENIZER, config, seed)


def same(a: Batch, b: Batch) -> bool:
    return (
        a.mel.shape == b.mel.shape
        and bool((a.mel == b.mel).all())
        and a.tokens.tolist() == b.tokens.tolist()
        and a.targets.tolist() == b.targets.tolist()
        and a.pieces == b.pieces
    )


def test_a_batch_depends_on_seed_and_step_alone(pack: Pack) -> None:
    one, other = batches(pack), batches(pack)
    in_order = [one.batch(step) for step in range(4)]
    backwards = [other.batch(step) for step in reversed(range(4))][::-1]
    assert all(same(a, b) for a, b in zip(in_order, backwards, strict=True))
    assert not same(in_order[0], in_order[1])
    assert not same(in_order[0], batches(pack, seed=1).batch(0))


def test_tokens_are_a_step_behind_their_targets(pack: Pack) -> None:
    t = TOKENIZER
    for step in range(4):
        batch = batches(pack, BatchConfig(seconds=6.0, timestamps=0.0), noises=False).batch(step)
        assert batch.tokens.shape == batch.targets.shape
        assert batch.mel.shape[:2] == (len(batch.tokens), 80)
        for tokens, targets, pieces in zip(
            batch.tokens.tolist(), batch.targets.tolist(), batch.pieces, strict=True
        ):
            n = len(pieces)
            assert pieces
            assert tokens[: n + 2] == [t.sot, t.no_timestamps, *pieces]
            assert targets[: n + 2] == [t.no_timestamps, *pieces, t.eot]
            assert set(tokens[n + 2 :]) <= {t.eot}
            assert set(targets[n + 2 :]) <= {IGNORE}
            assert t.decode(pieces).startswith(" ")


def test_items_without_words_are_no_speech(pack: Pack) -> None:
    t = TOKENIZER
    batch = batches(pack, BatchConfig(seconds=6.0, wordless=1.0)).batch(0)
    assert set(map(tuple, batch.pieces)) == {()}
    assert {tuple(row) for row in batch.tokens} == {(t.sot, t.no_timestamps)}
    assert {tuple(row) for row in batch.targets} == {(t.no_speech, t.eot)}


def test_joined_items_say_all_their_words(pack: Pack) -> None:
    config = BatchConfig(seconds=12.0, joined=1.0, wordless=0.0, spoil=False)
    known = {clip.text for clip in pack.clips}
    batch = batches(pack, config).batch(0)
    for pieces in batch.pieces:
        said = TOKENIZER.decode(pieces).strip()
        assert said not in known
        assert any(said.startswith(f"{text} ") for text in known if text)


def test_timestamps_say_when_each_utterance_is_heard(tmp_path: Path) -> None:
    """Silence, sound and silence joined: loud are the frames between two timestamps, and only those."""
    t = TOKENIZER
    quiet = np.zeros(RATE // 5, np.float32)
    clips = [
        (Clip(name, "", "s", text=name), np.concatenate([quiet, noise(1.0 + i / 10, i), quiet]))
        for i, name in enumerate(("one", "two", "three"))
    ]
    spoiled = SpoilConfig(speed=1.0, room=0, noise=0, telephone=0, codec=0)
    config = BatchConfig(seconds=12.0, joined=1.0, timestamps=1.0, wordless=0.0, shares=spoiled)
    drawn = batches(make_pack(tmp_path, clips), config, noises=False)
    several = 0
    for batch in map(drawn.batch, range(3)):
        for mel, tokens, targets, pieces in zip(
            batch.mel, batch.tokens.tolist(), batch.targets.tolist(), batch.pieces, strict=True
        ):
            written = [token for token in targets if token != IGNORE]
            assert tokens[: len(written)] == [t.sot, *written[:-1]]
            assert [token for token in written if token < t.eot] == pieces
            times = [token - t.timestamp_begin for token in written if token >= t.timestamp_begin]
            assert times == sorted(times)
            said = np.zeros(mel.shape[1] // 2, bool)
            for begin, end in zip(times[::2], times[1::2], strict=True):
                said[begin:end] = True
            # The mel of a frame leans over its edges, and masks take the mean of it all.
            loud = np.median(mel, 0).reshape(-1, 2).mean(1)
            inner = said & np.roll(said, 2) & np.roll(said, -2)
            outer = ~(said | np.roll(said, 2) | np.roll(said, -2))
            assert np.median(loud[inner]) > np.median(loud[outer]) + 0.5
            assert (loud[outer] < loud[inner].mean()).mean() > 0.9
            several += len(times) > 2
    assert several


def test_voice_is_found_between_silences() -> None:
    audio = np.concatenate([np.zeros(RATE), noise(0.5), np.zeros(RATE // 2)]).astype(np.float32)
    begin, end = voiced(audio)
    assert begin == pytest.approx(RATE, abs=320)
    assert end == pytest.approx(1.5 * RATE, abs=320)
    assert voiced(np.zeros(100, np.float32)) == (0, 100)


def test_sizes_are_as_configured(pack: Pack) -> None:
    for step in range(6):
        batch = batches(pack, BatchConfig(seconds=8.0, joined=0.0)).batch(step)
        assert batch.mel.shape[2] * MEL_HOP % TOKEN == 0
        assert batch.seconds == pytest.approx(batch.mel.shape[0] * batch.mel.shape[2] * MEL_HOP / RATE)
        assert batch.mel.dtype == np.float32
        assert np.isfinite(batch.mel).all()


def test_what_is_not_chosen_never_comes(pack: Pack) -> None:
    """Held-out clips are kept out by not being among the chosen ones."""
    chosen = [i for i, clip in enumerate(pack.clips) if clip.speaker != "p1"]
    drawn = SpeechBatches([(pack, chosen, 1.0)], [], TOKENIZER, BatchConfig(seconds=6.0, joined=0.0))
    allowed = {pack.clips[i].text for i in chosen}
    held = {clip.text for clip in pack.clips} - allowed
    said = {TOKENIZER.decode(p).strip() for step in range(15) for p in drawn.batch(step).pieces}
    assert held
    assert said <= allowed


def test_too_short_too_long_and_wordless_clips_are_left_out(tmp_path: Path) -> None:
    clips = [
        (Clip("a", "", "s", text="short"), noise(0.1)),
        (Clip("b", "", "s", text="long"), noise(3.0)),
        (Clip("c", "", "s", text=None), noise(1.0)),
        (Clip("d", "", "s", text="right"), noise(1.0)),
    ]
    pack = make_pack(tmp_path, clips)
    drawn = batches(pack, BatchConfig(seconds=2.0, longest=2.0, joined=0.0), noises=False)
    assert len(drawn) == 1
    assert TOKENIZER.decode(drawn.batch(0).pieces[0]) == " right"
    with pytest.raises(StreamerError, match="found none"):
        SpeechBatches([(pack, [0, 1, 2], 1.0)], [], TOKENIZER, BatchConfig(longest=2.0))


def test_weights_decide_what_is_drawn(tmp_path: Path) -> None:
    pack = make_pack(
        tmp_path, [(Clip(x, "", "s", text=x), noise(0.5, i)) for i, x in enumerate(("often", "seldom"))]
    )
    config = BatchConfig(seconds=4.0, joined=0.0, spoil=False)
    drawn = SpeechBatches([(pack, [0], 9.0), (pack, [1], 1.0)], [], TOKENIZER, config)
    said = [TOKENIZER.decode(p).strip() for step in range(20) for p in drawn.batch(step).pieces]
    assert 0.8 < said.count("often") / len(said) < 0.97
