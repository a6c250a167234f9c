"""What is played back is what would have been computed. Only the recording itself takes a GPU."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import decode
from streamer.backends import cuda_graphs
from streamer.backends.cuda_graphs import DESKS, GRAPHS, ROWS, GraphedWriter, Run
from streamer.backends.torch import WhisperNetwork, network_of
from streamer.nn.silence import Thinned, rest
from streamer.nn.whisper import DecoderCache, Whisper
from tests.tiny import tiny_model, tiny_tokenizer

LENGTH = 30
PLAIN = DecodeOptions(max_tokens=LENGTH, suppress_tokens=(), break_loops=False)
GIVEN = np.array([[256, 10, 20]])

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")


class Tape:
    """Records as a GPU does in all but the cost: its results are written into the same memory each time."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, int]] = []
        """Rows and frames of each recording."""
        self.played = 0
        self.kept: list[weakref.ref[Tensor]] = []

    def make(self, device: torch.device) -> Callable[[Run], Run]:
        assert device.type == "cpu"
        return self.record

    def note(self, run: Run) -> tuple[Tensor, Tensor]:
        logits, weights = run()
        self.recorded.append((len(weights), weights.shape[-1]))
        self.kept.append(weakref.ref(logits))
        return logits, weights

    def record(self, run: Run) -> Run:
        results = self.note(run)

        def play_back() -> tuple[Tensor, Tensor]:
            self.played += 1
            for mine, new in zip(results, run(), strict=True):
                mine.copy_(new)
            return results

        return play_back


def encoding(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(seed))


def made(tape: Tape) -> tuple[Whisper, GraphedWriter]:
    whisper = tiny_model().model
    return whisper, GraphedWriter(whisper, tape.make)


def begun(writer: Whisper | GraphedWriter, states: Tensor) -> DecoderCache:
    cache = writer.listen(states)
    writer.step(GIVEN, cache)
    return cache


def write(writer: Whisper | GraphedWriter, cache: DecoderCache, tokens: Sequence[int]) -> list[np.ndarray]:
    """Logits after each token, the same in each row."""
    rows = len(cache.own[0][0])
    return [writer.step(np.full((rows, 1), token), cache)[0] for token in tokens]


def assert_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def texts(writer: Whisper | GraphedWriter, options: DecodeOptions) -> list[Decoded]:
    return [decode(writer, encoding(60 + 20 * i, i), tiny_tokenizer(), options) for i in range(3)]


@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        replace(PLAIN, beam=3),
        replace(PLAIN, temperature=0.8),
        replace(PLAIN, prefix=(10, 20, 30), timestamps=True),
        replace(PLAIN, language=None),
    ],
    ids=["greedy", "beam", "drawn", "prefix", "language"],
)
def test_the_text_is_the_same(options: DecodeOptions) -> None:
    tape = Tape()
    whisper, writer = made(tape)
    for found, expected in zip(texts(writer, options), texts(whisper, options), strict=True):
        assert found.tokens == expected.tokens
        assert_close([found.logprobs, found.attention], [expected.logprobs, expected.attention])
    assert {frames for _, frames in tape.recorded} == {cuda_graphs.FRAMES}
    assert len(set(tape.recorded)) == len(tape.recorded) <= options.beam
    assert tape.played > 2 * LENGTH


def test_the_text_of_a_thinned_encoding_is_the_same() -> None:
    tape = Tape()
    whisper, writer = made(tape)
    kept = rest(1_300).shares
    thinned = Thinned(torch.randn(1, len(kept), 64), torch.tensor(kept))
    found, expected = (decode(one, thinned, tiny_tokenizer(), PLAIN) for one in (writer, whisper))
    assert found.tokens == expected.tokens
    assert_close([found.logprobs, found.attention], [expected.logprobs, expected.attention])
    assert tape.recorded == [(1, 1500)]


def test_without_a_recorder_it_is_the_same_too() -> None:
    whisper = tiny_model().model
    assert texts(GraphedWriter(whisper), PLAIN)[0].tokens == texts(whisper, PLAIN)[0].tokens


def test_a_shape_is_recorded_once_and_the_desk_passes_on() -> None:
    tape = Tape()
    whisper, writer = made(tape)
    for frames in (40, 500, 501, 1500, 40, 999):
        states = encoding(frames)
        assert_close(
            write(writer, begun(writer, states), range(5)), write(whisper, begun(whisper, states), range(5))
        )
    assert tape.recorded == [(1, 500), (1, 1000), (1, 1500)]


def test_results_outlast_the_next_step() -> None:
    _, writer = made(Tape())
    cache = begun(writer, encoding(40))
    writer.step(np.array([[1]]), cache)
    logits, weights = writer.step(np.array([[2]]), cache)
    before = logits.copy(), weights.copy()
    writer.step(np.array([[3]]), cache)
    assert np.array_equal(logits, before[0])
    assert np.array_equal(weights, before[1])


def test_what_has_another_shape_is_not_recorded() -> None:
    tape = Tape()
    whisper, writer = made(tape)
    states = torch.cat([encoding(40, 0), encoding(40, 1)])
    two = [one.listen(states) for one in (writer, whisper)]
    assert_close(write(writer, two[0], (1, 2)), write(whisper, two[1], (1, 2)))
    many = [begun(one, encoding(40)) for one in (writer, whisper)]
    for cache in many:
        cache.rearrange([0] * (ROWS + 1))
    assert_close(write(writer, many[0], (1, 2)), write(whisper, many[1], (1, 2)))
    several = [begun(one, encoding(40)) for one in (writer, whisper)]
    given = np.array([[1, 2, 3]])
    assert_close([writer.step(given, several[0])[0]], [whisper.step(given, several[1])[0]])
    assert not tape.recorded


def test_the_text_context_ends_where_it_always_did() -> None:
    whisper, writer = made(Tape())
    caches = [begun(one, encoding(40)) for one in (writer, whisper)]
    room = whisper.dims.n_text_ctx - GIVEN.size
    tokens = [i % 200 for i in range(room)]
    assert_close(write(writer, caches[0], tokens), write(whisper, caches[1], tokens))
    with pytest.raises(ValueError, match="at most 448 tokens, found 449"):
        write(writer, caches[0], (1,))


def test_a_desk_keeps_so_many_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROWS * 3 > GRAPHS >= 5 * 3  # a beam of five fits, at every length
    monkeypatch.setattr(cuda_graphs, "GRAPHS", 2)
    tape = Tape()
    whisper, writer = made(tape)

    def pass_over(frames: int) -> None:
        states = encoding(frames)
        found = write(writer, begun(writer, states), (1, 2))
        assert_close(found, write(whisper, begun(whisper, states), (1, 2)))

    for frames in (400, 900, 400, 1400, 400, 900):
        pass_over(frames)
    # At 1400 the one whose last use was the longest ago went, which was not the oldest.
    assert [frames for _, frames in tape.recorded] == [500, 1000, 1500, 1000]


def test_more_rows_take_a_larger_desk_and_fewer_do_not() -> None:
    tape = Tape()
    whisper, writer = made(tape)
    caches = [begun(one, encoding(40)) for one in (writer, whisper)]
    for rows in ([0], [0, 0, 0], [2, 1], [1], [0, 0, 0]):
        for cache in caches:
            cache.rearrange(rows)
        assert_close(write(writer, caches[0], (1, 2, 3)), write(whisper, caches[1], (1, 2, 3)))
    # The first one lay on the small desk.
    assert [rows for rows, _ in tape.recorded] == [1, 3, 2, 1]


def test_caches_take_turns_and_some_find_no_desk() -> None:
    tape = Tape()
    whisper, writer = made(tape)
    encodings = [encoding(40 + i, i) for i in range(DESKS + 2)]
    mine, theirs = ([begun(one, states) for states in encodings] for one in (writer, whisper))
    for token in range(6):
        for cache, other in zip(mine, theirs, strict=True):
            assert_close(write(writer, cache, (token,)), write(whisper, other, (token,)))
    assert len(tape.recorded) == DESKS
    played = tape.played
    write(writer, mine[-1], (1,))
    assert tape.played == played
    del mine[0]
    write(writer, mine[-1], (1,))
    assert (tape.played, len(tape.recorded)) == (played + 1, DESKS)


def test_threads_do_not_get_in_each_others_way() -> None:
    whisper, writer = made(Tape())
    states = [encoding(60, i) for i in range(DESKS + 2)]
    expected = [decode(whisper, one, tiny_tokenizer(), PLAIN).tokens for one in states]
    found: dict[int, list[tuple[int, ...]]] = {i: [] for i in range(len(states))}

    def run(i: int) -> None:
        for _ in range(3):
            found[i].append(decode(writer, states[i], tiny_tokenizer(), PLAIN).tokens)

    threads = [threading.Thread(target=run, args=(i,)) for i in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(expected)) > 1
    assert found == {i: [tokens] * 3 for i, tokens in enumerate(expected)}


class Failing(Tape):
    """Cannot record."""

    def record(self, run: Run) -> Run:
        self.note(run)
        raise RuntimeError("operation not permitted when stream is capturing")


class Stale(Tape):
    """Plays back what it once gave, as if a number had been recorded that should have been read."""

    def record(self, run: Run) -> Run:
        results = self.note(run)
        return lambda: results


@pytest.mark.parametrize(
    ("kind", "reason"), [(Failing, "not permitted when stream is capturing"), (Stale, "differs from")]
)
def test_without_graphs_it_says_so_once_and_goes_on(
    kind: type[Tape], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    tape = kind()
    whisper, writer = made(tape)
    for options in (PLAIN, replace(PLAIN, beam=3)):
        for found, expected in zip(texts(writer, options), texts(whisper, options), strict=True):
            assert found.tokens == expected.tokens
            assert np.array_equal(found.logprobs, expected.logprobs)
    (said,) = caplog.records
    assert reason in said.getMessage()
    assert len(tape.recorded) == 1
    caplog.clear()  # an error has its traceback, and that the memory
    assert [memory() for memory in tape.kept] == [None]


def test_a_processor_has_no_use_for_it() -> None:
    network = network_of(tiny_model(), torch.float32)
    assert isinstance(network, WhisperNetwork)
    assert type(network.writer) is Whisper


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [PLAIN, replace(PLAIN, beam=3)], ids=["greedy", "beam"])
def test_on_a_gpu_the_text_is_the_same(
    dtype: torch.dtype, options: DecodeOptions, caplog: pytest.LogCaptureFixture
) -> None:
    whisper = tiny_model().model.to("cuda", dtype)
    writer = GraphedWriter(whisper)
    for seed in range(3):
        states = encoding(60, seed).to("cuda", dtype)
        found, expected = (decode(one, states, tiny_tokenizer(), options) for one in (writer, whisper))
        same = sum(a == b for a, b in zip(found.tokens, expected.tokens, strict=False))
        # In halves the likeliest of two tokens that are nearly as likely may be the other one.
        assert same == len(expected.tokens) or (dtype != torch.float32 and same >= 5)
    assert not caplog.records


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_gpu_every_step_is_the_same(dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    whisper = tiny_model().model.to("cuda", dtype)
    writer = GraphedWriter(whisper)
    tolerance = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-1}[dtype]
    for frames in (40, 700, 1500, 40):
        states = encoding(frames).to("cuda", dtype)
        caches = [begun(one, states) for one in (writer, whisper)]
        for rows in ([0], [0, 0, 0], [1, 2]):
            for cache in caches:
                cache.rearrange(rows)
            for mine, theirs in zip(
                write(writer, caches[0], range(8)), write(whisper, caches[1], range(8)), strict=True
            ):
                assert np.linalg.norm(mine - theirs) <= tolerance * np.linalg.norm(theirs)
    assert not caplog.records


@needs_cuda
def test_on_a_gpu_a_network_writes_with_graphs() -> None:
    network = network_of(tiny_model(), torch.float32, torch.device("cuda"))
    assert isinstance(network.writer, GraphedWriter)


@needs_cuda
def test_on_a_gpu_threads_record_one_after_the_other(caplog: pytest.LogCaptureFixture) -> None:
    whisper = tiny_model().model.to("cuda")
    writer = GraphedWriter(whisper)
    states = [encoding(60, i).to("cuda") for i in range(DESKS)]
    expected = [decode(whisper, one, tiny_tokenizer(), PLAIN).tokens for one in states]
    found: dict[int, tuple[int, ...]] = {}

    def run(i: int) -> None:
        found[i] = decode(writer, states[i], tiny_tokenizer(), PLAIN).tokens

    threads = [threading.Thread(target=run, args=(i,)) for i in range(DESKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(DESKS)] == expected
    assert not caplog.records
