"""What a decoder is told was said before: the prompt, the last words, nothing doubtful, nothing old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from streamer.asr.before import MOST, Before
from streamer.asr.ctc import decode_ctc
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import decode
from streamer.config import TextConfig
from tests.asr.test_ctc import frames_of, logits
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def said(text: str) -> Decoded:
    return decode_ctc(logits(frames_of("-".join(text))), TOKENIZER, DecodeOptions()).decoded


def test_the_prompt_is_always_told_and_the_rest_only_where_asked_for() -> None:
    before = Before(TextConfig(prompt=" Dear Ann, "), TOKENIZER)
    before.said(said("hello"), believed=True)
    assert bytes(before.prompt(soon=True)) == b" Dear Ann,"


def test_the_last_words_are_told_until_a_pause_or_a_doubt() -> None:
    before = Before(TextConfig(prompt="x", previous=True), TOKENIZER)
    before.said(said("one"), believed=True)
    before.said(said(" two"), believed=True)
    assert bytes(before.prompt(soon=True)) == b" xone two"
    before.said(said(""), believed=True)
    assert bytes(before.prompt(soon=True)) == b" xone two"
    assert bytes(before.prompt(soon=False)) == b" x"
    assert bytes(before.prompt(soon=True)) == b" x"
    doubts: tuple[dict[str, Any], ...] = ({"broke_loop": True}, {"reached_limit": True}, {})
    for doubtful in doubts:
        before.said(said("one"), believed=True)
        before.said(replace(said("two"), **doubtful), believed=bool(doubtful))
        assert bytes(before.prompt(soon=True)) == b" x"


def test_only_so_many_words_are_told() -> None:
    before = Before(TextConfig(previous=True), TOKENIZER)
    for _ in range(9):
        before.said(said("abcdefghijklm"), believed=True)
    assert bytes(before.prompt(soon=True)) == (b"abcdefghijklm" * 9)[-MOST:]


def test_a_decoder_heeds_what_it_is_told() -> None:
    model = tiny_model(decoder="attention").model
    states = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(1))
    options = DecodeOptions(max_tokens=12)
    plain, told = (
        decode(model, states, TOKENIZER, replace(options, prompt=prompt))
        for prompt in ((), tuple(b" told before"))
    )
    assert plain.tokens != told.tokens
