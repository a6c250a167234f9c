"""A step of fixed shapes gives what the growing one gives, whatever was done to the cache before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from streamer.nn.one_token import Desk, next_token
from streamer.nn.silence import rest
from streamer.nn.whisper import DecoderCache, TextDecoder, WhisperDims

DIMS = WhisperDims(80, 100, 64, 2, 1, 200, 32, 48, 3, 3)
GIVEN = 4
"""Tokens before the first step."""


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def decoder(dtype: torch.dtype = torch.float32) -> TextDecoder:
    torch.manual_seed(0)
    made = TextDecoder(DIMS)
    torch.nn.init.normal_(made.token_embedding.weight, std=0.3)
    return made.to(dtype).eval()


def encoding(frames: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(1, frames, DIMS.n_audio_state, generator=torch.Generator().manual_seed(seed)).to(dtype)


def tokens(rows: int, n: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(0, DIMS.n_vocab, (rows, n), generator=torch.Generator().manual_seed(seed))


class Both:
    """One decoding, by steps that grow and by steps of fixed shapes on a desk."""

    def __init__(self, model: TextDecoder, states: Tensor, desk: Desk, shares: Tensor | None = None) -> None:
        self.model, self.desk = model, desk
        self.caches = [DecoderCache(model, states, shares) for _ in range(2)]
        for cache in self.caches:
            model.step(tokens(1, GIVEN, 99), cache)

    @property
    def growing(self) -> DecoderCache:
        return self.caches[0]

    @property
    def fixed(self) -> DecoderCache:
        return self.caches[1]

    def step(self, seed: int, frames: int = DIMS.n_audio_ctx) -> list[tuple[Tensor, Tensor]]:
        """The next tokens: what both say to them, growing first."""
        rows, heard = len(self.fixed.own[0][0]), self.fixed.cross[0][0].shape[2]
        given = tokens(rows, seed=seed)
        grown = self.model.step(given, self.growing)
        self.desk.let_in(self.fixed)
        self.desk.place(given.numpy(), self.fixed.length)
        logits, weights = next_token(self.model, self.desk.slots(rows, frames))
        self.desk.lend(self.fixed)
        self.fixed.length += 1
        return [grown, (logits, weights[..., :heard])]


def assert_equal(both: list[tuple[Tensor, Tensor]]) -> None:
    (logits, weights), (found, attention) = both
    assert found.shape == logits.shape
    assert attention.shape == weights.shape
    assert (found - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert (attention - weights).abs().max() <= 1e-5


@pytest.mark.parametrize(("heard", "frames"), [(40, 40), (40, 100), (100, 100)])
def test_up_to_the_last_position(heard: int, frames: int) -> None:
    model = decoder()
    both = Both(model, encoding(heard), Desk(model, 1, DIMS.n_audio_ctx))
    for position in range(GIVEN, DIMS.n_text_ctx):
        assert_equal(both.step(position, frames))
    assert both.fixed.length == DIMS.n_text_ctx


def test_from_the_first_position() -> None:
    model = decoder()
    both = Both(model, encoding(30), Desk(model, 1, DIMS.n_audio_ctx))
    for cache in both.caches:
        cache.truncate(0)
    for position in range(3):
        assert_equal(both.step(position))


@pytest.mark.parametrize("room", [3, 5])
def test_rows_come_and_go(room: int) -> None:
    model = decoder()
    both = Both(model, encoding(30), Desk(model, room, DIMS.n_audio_ctx))
    for step, rows in enumerate([[0, 0, 0], [2, 0, 1], [0, 1, 2], [1, 1], [1], [0, 0, 0]]):
        for cache in both.caches:
            cache.rearrange(rows)
        for again in range(2):
            assert_equal(both.step(10 * step + again))


def test_after_truncation_and_several_tokens_at_once() -> None:
    model = decoder()
    both = Both(model, encoding(30), Desk(model, 2, DIMS.n_audio_ctx))
    for step in range(6):
        both.step(step)
    for length, more in ((GIVEN + 2, 0), (GIVEN + 1, 3), (2, 5)):
        for cache in both.caches:
            cache.truncate(length)
        if more:
            # The growing step writes where the other one reads from then on.
            said = [model.step(tokens(1, more, length), cache)[0] for cache in both.caches]
            assert torch.allclose(said[0], said[1], atol=1e-5)
        for step in range(3):
            assert_equal(both.step(20 + step))


def test_of_a_thinned_encoding() -> None:
    model, shares = decoder(), torch.tensor(rest(1400).shares[-60:])
    assert len(shares.unique()) > 1
    both = Both(model, encoding(60), Desk(model, 2, DIMS.n_audio_ctx), shares)
    without = Both(model, encoding(60), Desk(model, 2, DIMS.n_audio_ctx))
    assert_equal(both.step(0))
    assert (both.step(1)[1][1] - without.step(1)[1][1]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_equal_within_their_rounding(dtype: torch.dtype) -> None:
    model, exact = decoder(dtype), decoder()
    both = Both(model, encoding(30, dtype), Desk(model, 3, DIMS.n_audio_ctx))
    reference = Both(exact, encoding(30), Desk(exact, 3, DIMS.n_audio_ctx))
    for cache in (*both.caches, *reference.caches):
        cache.rearrange([0, 0, 0])
    for step in range(8):
        (logits, weights), (found, attention) = both.step(step)
        right = reference.step(step)[0][0]
        assert (found.dtype, attention.dtype) == (torch.float32, torch.float32)
        # It is no further from what is right than the other is, and from that no further than that is wrong.
        assert (found - right).norm() <= 1.5 * (logits - right).norm()
        assert (found - logits).norm() <= 2 * (logits - right).norm()
        assert (attention - weights).abs().max() <= 4 * torch.finfo(dtype).eps


def test_nothing_is_left_of_who_was_there_before() -> None:
    model, desk = decoder(), Desk(decoder(), 2, DIMS.n_audio_ctx)
    before = Both(model, torch.full((1, 100, DIMS.n_audio_state), torch.inf), desk)
    before.growing.rearrange([0, 0])
    before.fixed.rearrange([0, 0])
    for step in range(3):
        assert before.step(step)[1][0].isnan().all()
    both = Both(model, encoding(30), desk)
    del before
    for step in range(3):
        assert_equal(both.step(step))


def test_the_cache_lives_on_the_desk_and_is_copied_once() -> None:
    model, desk = decoder(), Desk(decoder(), 1, DIMS.n_audio_ctx)
    both = Both(model, encoding(30), desk)
    both.step(0)
    here = desk.slots(1, 30)
    kept, heard = both.fixed.own, both.fixed.cross
    assert [k.data_ptr() for k, _ in kept] == [k.data_ptr() for k, _ in here.own]
    assert [v.data_ptr() for _, v in heard] == [v.data_ptr() for _, v in here.cross]
    both.step(1)
    assert both.fixed.own is kept
    assert both.fixed.cross is heard


def test_what_is_placed_is_what_is_read() -> None:
    desk = Desk(decoder(), 3, DIMS.n_audio_ctx)
    slots = desk.slots(2, 50)
    desk.place(np.array([[7], [9]]), 5)
    assert (slots.tokens.tolist(), slots.position.tolist()) == ([[7], [9]], [5])
