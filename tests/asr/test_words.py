from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.attended import median_filter
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.tokenizer import Tokenizer
from streamer.asr.words import TimedWord, alignment_matrix, merge_marks, warp, word_times
from streamer.nn.whisper import DecoderCache
from tests.nn.reference import NARROW, ours, reference

timing = pytest.importorskip("whisper.timing")

TEXT = ' Hello, "big world" -- it\'s (really) the end of 你好.'


def transcript(tokens, attention, start, language="en"):
    n = len(tokens)
    zeros = np.full(n, -0.5, np.float32)
    return Decoded(tuple(tokens), 0, "", zeros, -0.5, 0.0, language, 1.0, attention, start, False, False)


@pytest.mark.parametrize("n_vocab", [51864, 51865])
@pytest.mark.parametrize("seconds", [30.0, 7.3])
def test_times_are_whispers(n_vocab, seconds):
    whisper_tokenizer = pytest.importorskip("whisper.tokenizer")
    theirs = reference({**NARROW, "n_vocab": n_vocab}, 1)
    model, tokenizer = ours(theirs), Tokenizer.official(n_vocab)
    their_tokenizer = whisper_tokenizer.get_tokenizer(n_vocab > 51864, language="en", task="transcribe")
    mel = torch.randn(80, 3000, generator=torch.Generator().manual_seed(2))
    tokens = tokenizer.encode(TEXT)
    frames = int(seconds * 50)
    expected = timing.find_alignment(theirs, their_tokenizer, tokens, mel, 2 * frames)
    timing.merge_punctuations(expected, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
    given_tokens = [*tokenizer.sot_sequence(), tokenizer.no_timestamps, *tokens, tokenizer.eot]
    with torch.inference_mode():
        states = model.encode(mel[None]).states
        _, weights = model.decoder.step(torch.tensor([given_tokens]), DecoderCache(model.decoder, states))
    heads = torch.tensor(model.alignment_heads).T
    attention = weights[0, heads[0], heads[1]].numpy()
    found = word_times(transcript(tokens, attention, len(tokenizer.sot_sequence())), tokenizer, frames)
    assert [(w.text, w.start, w.end) for w in found] == [
        (w.word.strip(), round(w.start * 50), round(w.end * 50)) for w in expected if w.word.strip()
    ]
    assert len({w.start for w in found}) > 3, "everything at one place: a weak test"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 10**6))
def test_the_path_is_whispers_and_never_goes_back(n, m, seed):
    cost = np.random.default_rng(seed).standard_normal((n, m))
    rows, times = warp(cost)
    assert np.array_equal(np.stack([rows, times]), timing.dtw_cpu(cost))
    assert (rows[0], times[0], rows[-1], times[-1]) == (0, 0, n - 1, m - 1)
    assert (np.diff(rows) >= 0).all()
    assert (np.diff(times) >= 0).all()


@given(st.integers(1, 6), st.integers(1, 6))
def test_the_path_survives_ties(n, m):
    rows, times = warp(np.zeros((n, m)))
    assert set(rows) == set(range(n))
    assert set(times) == set(range(m))


@pytest.mark.parametrize("length", [1, 3, 4, 50])
def test_median_is_whispers(length):
    x = np.random.default_rng(length).standard_normal((2, 3, length))
    assert np.allclose(median_filter(x), timing.median_filter(torch.from_numpy(x), 7).numpy())


def test_attention_that_moves_gives_times_where_it_is():
    tokenizer = Tokenizer.from_ranks({bytes([value]): value for value in range(256)})
    tokens = tokenizer.encode(" a b c")
    rows, start = len(tokens) + 2, 1
    frames = 10 * rows
    attention = np.full((2, rows, frames), 1e-4, np.float32)
    for row in range(rows):
        attention[:, row, 10 * row : 10 * row + 10] = 1.0
    found = word_times(transcript(tokens, attention, start), tokenizer, frames)
    assert [w.text for w in found] == ["a", "b", "c"]
    assert [w.start for w in found] == pytest.approx([0, 30, 50], abs=4)
    assert [w.end for w in found] == pytest.approx([30, 50, 70], abs=4)
    assert found[0].probability == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_decoded_words_are_in_order_and_inside():
    theirs = reference({**NARROW, "n_vocab": 51864}, 2, end_bias=3)
    model, tokenizer = ours(theirs), Tokenizer.official(51864)
    states = torch.randn(1, 200, 64, generator=torch.Generator().manual_seed(0))
    for most in (3, 60):
        decoded = decode(model, states, tokenizer, DecodeOptions(max_tokens=most))
        for frames in (1, 2, 150, 200, 999):
            words = word_times(decoded, tokenizer, frames)
            bounds = [t for word in words for t in (word.start, word.end)]
            assert bounds == sorted(bounds)
            assert all(0 <= t <= min(frames, 200) for t in bounds)
            assert all(0 <= word.probability <= 1 for word in words)


def test_nothing_said_is_no_words():
    tokenizer = Tokenizer.from_ranks({bytes([value]): value for value in range(256)})
    assert word_times(transcript((), np.ones((1, 2, 5), np.float32), 1), tokenizer, 5) == []
    timestamps = transcript((tokenizer.timestamp_begin,) * 2, np.ones((1, 4, 5), np.float32), 1)
    assert word_times(timestamps, tokenizer, 5) == []


def test_silent_heads_do_not_divide_by_zero():
    assert np.isfinite(alignment_matrix(np.zeros((2, 3, 9), np.float32))).all()


WORDS = st.sampled_from([" the", " “", " -", ",", ".", "?", " dog", "!", " (", ")", "-"])


@given(st.lists(WORDS, max_size=8))
def test_marks_join_and_lose_nothing(texts):
    words = [TimedWord(text, i, i + 1, 1.0) for i, text in enumerate(texts)]
    merged = merge_marks(words)
    assert "".join(w.text for w in merged) == "".join(texts)
    starts = [w.start for w in merged]
    assert starts == sorted(starts)
    mutable = [SimpleNamespace(word=text, tokens=[i]) for i, text in enumerate(texts)]
    if mutable and not any(" " + mark in texts for mark in "“-("):
        timing.merge_punctuations(mutable, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
        assert [w.text for w in merged] == [w.word for w in mutable if w.word]
