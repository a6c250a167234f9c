"""Pieces, what is known of them, and the contexts they are learnt in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.audio.mel import log_mel
from streamer.backends.base import context_for
from streamer.nn.whisper import AudioEncoder
from streamer.timebase import FRAME, FULL_CONTEXT, MEL_HOP, POOL, SAMPLE_RATE
from streamer.training.context.config import Draws
from streamer.training.context.pieces import Lessons, Piece, Teacher, draw_pieces
from streamer.training.recordings import Utterance
from tests.training.context.recordings import stock, utterances

DRAWS = Draws(longest=2.0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return utterances(tmp_path_factory.mktemp("pieces"))


def encoder_of(seen: list[int] | None = None) -> AudioEncoder:
    encoder = stock().model.encoder
    if seen is not None:
        encoder.register_forward_hook(lambda *told: seen.append(told[1][0].shape[-1]))
    return encoder


def test_pieces_lie_within_recordings_and_are_the_seeds(recordings: list[Utterance]) -> None:
    pieces = draw_pieces(recordings, 200, DRAWS, seed=3)
    assert [piece.name for piece in pieces] == [p.name for p in draw_pieces(recordings, 200, DRAWS, seed=3)]
    assert [piece.name for piece in pieces] != [p.name for p in draw_pieces(recordings, 200, DRAWS, seed=4)]
    for piece in pieces:
        assert 0.8 * SAMPLE_RATE <= piece.length <= 2 * SAMPLE_RATE
        assert piece.start + piece.length <= len(piece.utterance)
        np.testing.assert_array_equal(
            piece.samples, piece.utterance.samples[piece.start : piece.start + piece.length]
        )
    # In turn: each recording as often as another, and of more lengths than its own.
    assert {sum(p.utterance is one for p in pieces) for one in recordings} == {200 // len(recordings)}
    assert len({piece.length for piece in pieces}) > 100


def test_the_full_context_is_heard_once_for_each_piece(tmp_path: Path, recordings: list[Utterance]) -> None:
    seen: list[int] = []
    pieces = draw_pieces(recordings, 3, DRAWS, seed=0)
    teacher = Teacher(encoder_of(seen), pieces, tmp_path, bf16=False).prepare("", progress=False)
    assert seen == [FULL_CONTEXT // MEL_HOP] * 3
    again = Teacher(encoder_of(seen), pieces, tmp_path, bf16=False)
    next(tmp_path.rglob("000001.npz")).unlink()  # as a kill leaves it
    again.prepare("", progress=False)
    assert len(seen) == 4
    mel = log_mel(np.pad(pieces[1].samples, (0, FULL_CONTEXT - pieces[1].length)))
    with torch.inference_mode():
        wanted = encoder_of()(torch.from_numpy(mel)[None], pooled=True)
    frames = pieces[1].length // FRAME
    for one in (teacher.known(1), again.known(1)):
        torch.testing.assert_close(one.states, wanted.states[0, :frames], atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(one.layers, wanted.layers[0, :, : frames // POOL], atol=2e-3, rtol=1e-3)


def test_what_is_known_is_of_those_weights_and_pieces(tmp_path: Path, recordings: list[Utterance]) -> None:
    pieces, seen = draw_pieces(recordings, 1, DRAWS, seed=0), list[int]()
    Teacher(encoder_of(seen), pieces, tmp_path, bf16=False).prepare("", progress=False)
    other = encoder_of(seen)
    with torch.no_grad():
        other.conv1.weight[0, 0, 0] += 1e-3
    Teacher(other, pieces, tmp_path, bf16=False).prepare("", progress=False)
    shorter = [Piece(pieces[0].utterance, pieces[0].start, pieces[0].length - FRAME)]
    Teacher(encoder_of(seen), shorter, tmp_path, bf16=False).prepare("", progress=False)
    assert len(seen) == 3


def test_lessons_are_in_contexts_of_the_engines(tmp_path: Path, recordings: list[Utterance]) -> None:
    pieces = draw_pieces(recordings, 2, DRAWS, seed=0)
    teacher = Teacher(encoder_of(), pieces, tmp_path, bf16=False).prepare("", progress=False)
    lessons = Lessons(teacher, 40, replace(DRAWS, margin=1.6, full=0.2), 80, seed=5)
    assert len(lessons) == 40
    contexts = set()
    for i in range(len(lessons)):
        piece, lesson = pieces[i % 2], lessons[i]
        context = lesson.mel.shape[1] * MEL_HOP
        possible = [context_for(piece.length, True, margin) for margin in (0, int(1.6 * SAMPLE_RATE))]
        assert context == FULL_CONTEXT or possible[0] <= context <= possible[1]
        mel = log_mel(np.pad(piece.samples, (0, context - piece.length)))
        torch.testing.assert_close(lesson.mel, torch.from_numpy(mel))
        torch.testing.assert_close(lesson.mel, lessons[i].mel)
        assert len(lesson.known.states) == piece.length // FRAME
        contexts.add(context)
    assert FULL_CONTEXT in contexts
    assert len(contexts) >= 3
