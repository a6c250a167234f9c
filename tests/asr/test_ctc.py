"""The greedy path through a CTC branch, against brute force, and what streaming adds to it."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.asr.ctc import BLANK, CtcPath, ctc_words, decode_ctc
from streamer.asr.decode import DecodeOptions
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PIECES = 256


def logits(path: list[int], confidence: float = 10.0) -> NDArray[np.float32]:
    """(T, 1 + pieces) log-probabilities whose best path is this."""
    out = torch.zeros(len(path), 1 + PIECES)
    out[torch.arange(len(path)), torch.tensor(path, dtype=torch.long)] = confidence
    return out.log_softmax(-1).numpy()


def frames_of(text: str) -> list[int]:
    """A path written out: '-' is the blank."""
    return [BLANK if character == "-" else ord(character) + 1 for character in text]


def decoded(path: str, prefix: str = "", frames: tuple[int, ...] = ()) -> CtcPath:
    options = DecodeOptions(language="en", prefix=tuple(prefix.encode()))
    return decode_ctc(logits(frames_of(path)), TOKENIZER, options, frames)


PATHS = st.lists(st.sampled_from("--abc "), max_size=40).map("".join)


@given(PATHS)
def test_repeats_and_blanks_collapse(path: str) -> None:
    runs = [(next(iter(group))[0], piece) for piece, group in groupby(enumerate(path), lambda x: x[1])]
    kept = [(frame, piece) for frame, piece in runs if piece != "-"]
    got = decoded(path)
    assert bytes(got.decoded.tokens).decode() == "".join(piece for _, piece in kept)
    assert list(got.frames) == [frame for frame, _ in kept]
    assert got.decoded.text == bytes(got.decoded.tokens).decode().strip()
    assert len(got.decoded.logprobs) == len(got.frames)


@given(st.integers(0, 1000))
def test_random_logits_against_brute_force(seed: int) -> None:
    values = torch.randn(12, 1 + PIECES, generator=torch.Generator().manual_seed(seed))
    values = values.log_softmax(-1).numpy()
    got = decode_ctc(values, TOKENIZER, DecodeOptions(language="en"))
    tokens, chosen, previous = [], [], BLANK
    for row in values:
        piece = int(row.argmax())
        if piece not in (previous, BLANK):
            tokens.append(piece - 1)
            chosen.append(row[piece])
        previous = piece
    assert got.decoded.tokens == tuple(tokens)
    np.testing.assert_allclose(got.decoded.logprobs, chosen, rtol=1e-5)
    assert got.decoded.avg_logprob == pytest.approx(float(np.mean(chosen)), rel=1e-5)
    assert got.decoded.no_speech_prob == pytest.approx(float(np.exp(values[:, BLANK].min())), rel=1e-4)


@given(PATHS, st.data())
def test_a_prefix_is_kept_whatever_follows(path: str, data: st.DataObject) -> None:
    """Even one that this audio says nothing of, or that was heard behind its end."""
    prefix = data.draw(st.text("abc ", max_size=6))
    frames = data.draw(st.lists(st.integers(0, 50), min_size=len(prefix), max_size=len(prefix)).map(sorted))
    got = decoded(path, prefix, tuple(frames))
    assert bytes(got.decoded.tokens).decode().startswith(prefix)
    assert len(got.frames) == len(got.decoded.tokens) == len(got.decoded.logprobs)
    assert list(got.frames) == sorted(got.frames)
    assert all(0 <= frame < max(1, len(path)) for frame in got.frames)
    assert got.decoded.prefix_length == len(prefix)


@given(PATHS, PATHS, st.integers(0, 40))
def test_streamed_with_its_own_beginning_gives_the_same(beginning: str, rest: str, count: int) -> None:
    """What an earlier pass over the beginning found, forced upon the whole, changes nothing."""
    first, whole = decoded(beginning), decoded(beginning + rest)
    count = min(count, len(first.frames))
    prefix = bytes(first.decoded.tokens[:count]).decode()
    streamed = decoded(beginning + rest, prefix, first.frames[:count])
    assert streamed.decoded.tokens == whole.decoded.tokens
    assert streamed.frames == whole.frames


def test_a_prefix_piece_that_goes_on_is_not_repeated() -> None:
    assert decoded("xxbbbb--c", "ab", (0, 2)).decoded.text == "abc"
    assert decoded("xxbb-b--c", "ab", (0, 2)).decoded.text == "abbc"


def test_a_prefix_that_is_heard_a_little_later_now_is_not_repeated() -> None:
    """Each pass sees more context, and pieces move by a frame or two."""
    before = decoded("-a-b--")
    later = decoded("--a--b--c", "ab", before.frames)
    assert later.decoded.text == "abc"
    assert later.frames == (2, 5, 8)


def test_a_prefix_without_its_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame for each of 2 prefix tokens, found 1"):
        decoded("abc", "ab", (0,))


def test_no_audio_says_nothing() -> None:
    got = decoded("")
    assert (got.decoded.text, got.decoded.no_speech_prob, got.decoded.avg_logprob) == ("", 1.0, 0.0)
    assert ctc_words(got, TOKENIZER, 0) == []
    assert decoded("", "a", (3,)).decoded.text == "a"


@given(PATHS, st.integers(0, 6))
def test_words_are_in_order_and_inside_the_audio(path: str, late: int) -> None:
    got = decoded(path)
    words = ctc_words(got, TOKENIZER, len(path), late)
    assert " ".join(word.text for word in words) == " ".join(got.decoded.text.split())
    end = 0
    for word in words:
        assert end <= word.start < word.end <= len(path)
        end = word.end
        assert 0 < word.probability <= 1


def test_words_end_with_the_next_or_after_a_while() -> None:
    words = ctc_words(decoded("--ab- cd" + "-" * 40), TOKENIZER, 48)
    assert [(w.text, w.start, w.end) for w in words] == [("ab", 2, 5), ("cd", 5, 17)]


def test_what_a_branch_writes_late_is_told_as_much_earlier() -> None:
    words = ctc_words(decoded("--ab- cd" + "-" * 40), TOKENIZER, 48, late=3)
    assert [(w.text, w.start, w.end) for w in words] == [("ab", 0, 2), ("cd", 2, 17)]
