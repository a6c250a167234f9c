"""Several things measured in turn."""

from __future__ import annotations

import time

import pytest
import torch

from streamer.evaluation.turns import finisher, in_turn, ratio


def test_things_are_done_in_turn() -> None:
    done: list[str] = []
    taken = in_turn([lambda: done.append("a"), lambda: done.append("b")], 2, lambda: done.append("|"))
    assert done == list("ab|ab|ab|")
    assert [len(one.wall) for one in taken] == [len(one.cpu) for one in taken] == [2, 2]


def test_waiting_takes_the_clock_s_time_but_not_the_processor_s() -> None:
    (taken,) = in_turn([lambda: time.sleep(0.02)], 3)
    assert min(taken.wall) >= 20
    assert sum(taken.cpu) < sum(taken.wall)


def test_what_a_run_has_only_ordered_is_waited_for_and_counts() -> None:
    done: list[str] = []

    def finish() -> None:
        time.sleep(0.02)
        done.append("!")

    (taken,) = in_turn([lambda: done.append("a")], 2, lambda: done.append("|"), finish)
    assert done == list("a!|a!|a!|")
    assert min(taken.wall) >= 20


def test_a_processor_is_done_when_it_returns() -> None:
    finisher(torch.device("cpu"))()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
def test_a_gpu_is_done_when_it_was_waited_for() -> None:
    device = torch.device("cuda")
    x = torch.randn(4096, 4096, device=device)
    finish = finisher(device)
    finish()
    for _ in range(50):
        x = x @ x
    finish()
    assert torch.cuda.current_stream().query()


def test_a_ratio_compares_what_was_measured_together() -> None:
    # The machine was ten times as slow in the last round.
    assert ratio([2, 4, 20], [1, 2, 10]) == pytest.approx(2)
    assert ratio([1], [0]) > 0
