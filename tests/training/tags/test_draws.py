from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamer.training.tags.draws import DrawConfig, Draws
from streamer.training.tags.features import Features
from tests.training.tags.tools import LABELS, two_classes

PLAIN = DrawConfig(batch=512, mixup=0.0, time_mask=0.0, smoothing=0.0)


def uneven() -> Features:
    """Of 50 windows one is rain, nine are nothing, the others dogs; every value of a window is its number."""
    values = np.broadcast_to(np.arange(1, 51)[:, None, None, None], (50, 2, 4, 8)).astype(np.float16)
    targets = np.zeros((50, len(LABELS)), np.bool_)
    targets[:40, 0] = True
    targets[40, 1] = True
    rows = np.arange(50)
    return Features(values, rows, targets, 1 + rows % 5, rows)


def drawn(config: DrawConfig, steps: int = 6, **more: object) -> tuple[torch.Tensor, torch.Tensor]:
    draws = Draws([uneven()], config, **more)  # type: ignore[arg-type]
    x, y = zip(*(draws.batch(step) for step in range(steps)), strict=True)
    return torch.cat(x), torch.cat(y)


def test_labels_are_drawn_alike_however_rare() -> None:
    _, y = drawn(PLAIN)
    dog, rain, siren = y.mean(0).tolist()
    assert dog == pytest.approx(0.425, abs=0.04)
    assert rain == pytest.approx(0.425, abs=0.04)
    assert siren == 0
    assert (y.sum(1) == 0).float().mean().item() == pytest.approx(0.15, abs=0.03)


def test_what_is_common_is_still_drawn() -> None:
    """Of 40 common windows and a rare one: half of the draws each without a floor."""
    _, even = drawn(replace(PLAIN, unlabelled=0.0, floor=0.0))
    assert even[:, 0].mean().item() == pytest.approx(0.5, abs=0.05)
    _, kept = drawn(replace(PLAIN, unlabelled=0.0, floor=1.0))
    assert kept[:, 0].mean().item() == pytest.approx(2 / 3, abs=0.05)


def test_unbalanced_draws_follow_the_data() -> None:
    _, y = drawn(replace(PLAIN, balance=False, unlabelled=0.0))
    assert y[:, 1].mean().item() == pytest.approx(1 / 41, abs=0.02)
    assert (y.sum(1) > 0).all()


def test_batches_are_a_function_of_seed_and_step() -> None:
    config = DrawConfig(batch=16)
    one, again, other = (Draws([uneven()], config, seed=s) for s in (3, 3, 4))
    for step in (5, 0, 17):
        assert all(torch.equal(a, b) for a, b in zip(one.batch(step), again.batch(step), strict=True))
    assert not torch.equal(one.batch(0)[0], other.batch(0)[0])
    assert not torch.equal(one.batch(0)[0], one.batch(1)[0])


def test_a_fold_left_out_is_never_drawn() -> None:
    x, _ = drawn(PLAIN, leave={2, 4})
    seen = set(x[:, 0, 0, 0].int().tolist())
    assert seen
    assert {(n - 1) % 5 + 1 for n in seen} == {1, 3, 5}
    assert Draws([uneven()], PLAIN, {2, 4}).count == 30


@pytest.mark.parametrize("targets", ["share", "union"])
def test_mixing_mixes_features_and_targets_alike(targets: str) -> None:
    """With one window of each kind, a mixture's value tells its shares."""
    values = np.stack([np.full((2, 4, 8), v, np.float16) for v in (0.0, 1.0)])
    truth = np.array([[True, False, False], [False, True, False]])
    rows = np.arange(2)
    features = Features(values, rows, truth, rows, rows)
    x, y = Draws([features], replace(PLAIN, mixup=1.0, mixup_targets=targets)).batch(0)
    share = x[:, 0, 0, 0]
    mixed = (share > 0) & (share < 1)
    assert 0.3 < mixed.float().mean() < 0.7
    assert 0 < share[mixed].min() < 0.4 < 0.6 < share[mixed].max() < 1
    if targets == "share":
        torch.testing.assert_close(y[:, 1], share)
        torch.testing.assert_close(y[:, 0], 1 - share)
    else:
        assert (y[mixed][:, :2] == 1).all()
        torch.testing.assert_close(y[~mixed][:, 1], share[~mixed])


def test_masks_are_runs_of_tokens_up_to_their_length() -> None:
    values = np.ones((4, 2, 10, 8), np.float16)
    rows = np.arange(4)
    features = Features(values, rows, np.ones((4, 1), np.bool_), rows, rows)
    x, _ = Draws([features], replace(PLAIN, time_mask=0.4)).batch(0)
    gone = (x == 0).all(dim=3).all(dim=1)
    assert ((x == 0).any(dim=3).any(dim=1) == gone).all()  # all layers, all of the width
    assert set(gone.sum(1).tolist()) == {0, 1, 2, 3, 4}
    for row in gone:
        at = row.nonzero().flatten().tolist()
        assert at == list(range(at[0], at[0] + len(at))) if at else True
    starts = {int(row.nonzero()[0]) for row in gone if row.any()}
    assert starts == set(range(10))


def test_smoothing_keeps_targets_off_the_ends() -> None:
    _, y = drawn(replace(PLAIN, smoothing=0.1))
    assert y.unique().tolist() == pytest.approx([0.1, 0.9])


def test_lengths_are_drawn_by_what_is_in_them() -> None:
    short, long = two_classes(20, tokens=4), two_classes(60, tokens=10)
    draws = Draws([short, long], replace(PLAIN, batch=4))
    tokens = [draws.batch(step)[0].shape[2] for step in range(200)]
    assert 0.15 < tokens.count(4) / len(tokens) < 0.37


def test_identity_is_of_what_is_drawn_from() -> None:
    features = two_classes()
    one = Draws([features], PLAIN, {1}).identity
    assert Draws([features], PLAIN, {1}, seed=9).identity == one
    assert Draws([features], PLAIN, {2}).identity != one
    features.targets[5] = True
    assert Draws([features], PLAIN, {1}).identity != one
