"""Where a decoder is in the audio: followed, stopped at the edge, caught when it jumps back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer.asr.attended import Follower, Frontier
from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.words import alignment_matrix
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
STATES = torch.randn(1, 60, 64, generator=torch.Generator().manual_seed(3))
PLAIN = DecodeOptions(max_tokens=12, suppress_tokens=tuple(range(TOKENIZER.eot, TOKENIZER.n_vocab)))
ANYWHERE = Frontier(frames=60, margin=0, jump_back=1000)


def looking(*places: int, frames: int = 100) -> NDArray[np.float32]:
    """(2, n, frames) attention of positions that look around the given places."""
    x = np.arange(frames)
    rows = [np.exp(-0.5 * ((x - place) / 4) ** 2) + 0.01 for place in places]
    table = np.stack(rows) / np.sum(rows, axis=1, keepdims=True)
    return np.stack([table, table]).astype(np.float32)


def follow(*places: int, margin: int = 20, jump_back: int = 50) -> list[tuple[int, str]]:
    follower = Follower(Frontier(100, margin, jump_back))
    follower.begin(looking(places[0]), prefixed=False)
    return [follower.choose(looking(place)) for place in places[1:]]


def test_the_frame_is_where_it_looks() -> None:
    found = follow(0, 10, 30, 55, 70)
    assert [verdict for _, verdict in found] == ["go on"] * 4
    np.testing.assert_allclose([frame for frame, _ in found], [10, 30, 55, 70], atol=3)


def test_the_edge_and_the_jump_back() -> None:
    assert [verdict for _, verdict in follow(0, 20, 40, 90)] == ["go on", "go on", "too new"]
    assert [verdict for _, verdict in follow(0, 20, 75, 8)] == ["go on", "go on", "lost"]
    # The same jump is none for one who may look that far back.
    assert [verdict for _, verdict in follow(0, 20, 75, 8, jump_back=90)] == ["go on"] * 3


def test_the_prefix_is_where_the_first_token_comes_from() -> None:
    for prefixed, verdict in ((True, "lost"), (False, "go on")):
        follower = Follower(Frontier(100, 20, 50))
        follower.begin(looking(40, 70), prefixed)
        assert follower.choose(looking(5))[1] == verdict


def test_running_sums_give_what_the_whole_matrix_gives() -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(90), (3, 8)).astype(np.float32)
    follower = Follower(Frontier(80, 0, 1000))
    follower.begin(attention[:, :7], prefixed=False)
    frame, _ = follower.choose(attention[:, 7:])
    assert frame == alignment_matrix(attention[:, :, :80])[-1].argmax()


def test_padding_is_not_looked_at() -> None:
    follower = Follower(Frontier(50, 0, 1000))
    follower.begin(looking(0, 12, 45), prefixed=False)
    assert follower.choose(looking(95) + looking(30))[0] == pytest.approx(30, abs=3)


# In the decoder.


def test_a_frontier_that_nothing_reaches_changes_nothing() -> None:
    model = tiny_model(decoder="attention").model
    plain = decode(model, STATES, TOKENIZER, PLAIN)
    with_one = decode(model, STATES, TOKENIZER, replace(PLAIN, frontier=replace(ANYWHERE, frames=61)))
    assert with_one.tokens == plain.tokens
    assert len(with_one.attended) == len(plain.tokens) > 3
    assert (with_one.beyond, with_one.lost) == (None, False)


def test_the_token_at_the_edge_is_dropped_and_ends_the_decode() -> None:
    model = tiny_model(decoder="attention").model
    whole = decode(model, STATES, TOKENIZER, replace(PLAIN, frontier=ANYWHERE))
    # The edge is put where the second token looks; the first may be behind it as well.
    edge = whole.attended[2]
    cut = decode(
        model, STATES, TOKENIZER, replace(PLAIN, frontier=replace(ANYWHERE, margin=ANYWHERE.frames - edge))
    )
    first = next(i for i, frame in enumerate(whole.attended) if frame >= edge)
    assert cut.tokens == whole.tokens[:first]
    assert cut.attended == whole.attended[:first]
    assert cut.beyond == whole.tokens[first]
    assert not cut.reached_limit
    assert cut.attention.shape[1] == cut.attention_start + len(cut.tokens) + 1


def test_a_jump_back_discards_the_update_but_never_the_prefix() -> None:
    model = tiny_model(decoder="attention").model
    whole = decode(model, STATES, TOKENIZER, replace(PLAIN, frontier=ANYWHERE))
    assert any(b < a for a, b in zip(whole.attended, whole.attended[1:], strict=False)), "a weak test"
    prefix = whole.tokens[:2]
    lost = decode(
        model, STATES, TOKENIZER, replace(PLAIN, prefix=prefix, frontier=replace(ANYWHERE, jump_back=0))
    )
    assert lost.lost
    assert (lost.tokens, lost.attended) == (prefix, ())
    assert len(lost.logprobs) == 2
    assert not lost.reached_limit
