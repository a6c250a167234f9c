from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.training.tags.draws import DrawConfig
from streamer.training.tags.fit import TagConfig, plain_attention
from streamer.training.tags.folds import (
    FALSE_IN_SPEECH,
    LEAST_PRECISION,
    ClipScores,
    Job,
    at_thresholds,
    choose_thresholds,
    clip_scores,
    cross_validate,
    only_folds,
    run_fits,
    watched,
)
from streamer.training.tags.readers import TEST_FOLD
from tests.training.tags.tools import LABELS, two_classes

CONFIG = TagConfig(width=8, epochs=45, lr=1e-2, precision="fp32", draws=DrawConfig(batch=16))
SHORT = replace(CONFIG, epochs=2)


def test_cross_validation_scores_every_window_unseen() -> None:
    features = two_classes(40)
    folds = cross_validate([features], replace(CONFIG, head="wa-mlp"), progress=False)
    assert folds.clips.accuracy() == 1.0
    assert folds.scores.shape == folds.targets.shape == (40, len(LABELS))
    assert sorted(folds.clips.clips.tolist()) == list(range(40))
    assert set(folds.curves) == {1, 2, 3, 4, 5}
    assert all("validation_map" in row for rows in folds.curves.values() for row in rows)
    # Labels at random can only be right by chance.
    features.targets = features.targets[np.random.default_rng(0).permutation(40)]
    assert cross_validate([features], replace(CONFIG, head="wa-mlp"), progress=False).clips.accuracy() < 0.8


def test_with_patience_the_next_fold_validates_and_is_not_learnt_from(tmp_path: Path) -> None:
    config = replace(CONFIG, head="last-mlp", patience=2, epochs=12)
    plain, poisoned = two_classes(), two_classes()
    folds = cross_validate([plain], config, tmp_path, progress=False)
    assert folds.scores.shape == (60, len(LABELS))
    assert all(1 <= epochs <= 12 for epochs in folds.epochs)
    # Fold 1 learns from 3, 4 and 5: what fold 1 holds changes no score but its own windows'.
    poisoned.values[poisoned.fold == 1] *= -5
    other = cross_validate([poisoned], config, progress=False)
    assert folds.curves[1][0]["loss"] == other.curves[1][0]["loss"]
    assert folds.curves[5][0]["loss"] == other.curves[5][0]["loss"]  # which 1 validates
    assert folds.curves[2][0]["loss"] != other.curves[2][0]["loss"]


@pytest.mark.parametrize("fold", [0, 1, TEST_FOLD])
def test_without_two_folds_there_is_nothing_to_measure(fold: int) -> None:
    features = two_classes(10)
    features.fold[:] = fold
    with pytest.raises(StreamerError, match="'fold' of at least two kinds"):
        cross_validate([features], CONFIG, progress=False)


def test_fits_at_once_are_the_fits_one_by_one(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    jobs = [Job(f"fold {k}", SHORT, frozenset({k})) for k in (1, 2, 3)]
    features = [two_classes()]
    torch.set_num_threads(1)
    try:
        alone = run_fits(features, jobs, progress=False)
        together = run_fits(features, jobs, tmp_path, parallel=3, progress=False)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(alone, together, strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(one.head.parameters(), other.head.parameters(), strict=True)
        )
    assert len({sum(p.sum().item() for p in one.head.parameters()) for one in alone}) == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_fits_in_bfloat16_are_repeatable_and_leave_torchs_attention_as_it_was(tmp_path: Path) -> None:
    config = replace(SHORT, precision="bf16", head="tl-tr")
    jobs = [Job(f"fold {k}", config, frozenset({k})) for k in (1, 2)]
    one, again = (run_fits([two_classes()], jobs, progress=False, parallel=n) for n in (2, 2))
    for a, b in zip(one, again, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.head.parameters(), b.head.parameters(), strict=True))
        assert all(p.dtype == torch.float32 for p in a.head.parameters())
    assert torch.backends.cuda.flash_sdp_enabled()
    with plain_attention(config):
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
    with plain_attention(replace(config, precision="fp32")):
        assert torch.backends.cuda.flash_sdp_enabled()


def test_a_fit_beside_the_folds_is_there_when_it_is_asked_for(tmp_path: Path) -> None:
    head, features = Job("head", SHORT, frozenset()), [two_classes()]
    cross_validate(features, SHORT, tmp_path, 2, False, [head])
    assert len(list(tmp_path.iterdir())) == 6
    (there,) = run_fits(features, [head], tmp_path, progress=False)
    (alone,) = run_fits(features, [head], progress=False)
    assert len(there.curve) == SHORT.epochs
    for a, b in zip(there.head.parameters(), alone.head.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_threads_are_given_back_where_a_fit_fails(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with pytest.raises(StreamerError):
        run_fits([two_classes()], [Job("x", SHORT, frozenset(range(6)))] * 2, parallel=2, progress=False)
    assert torch.get_num_threads() == before


def test_recordings_average_their_pieces() -> None:
    got = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1], [0.5, 0.5]], np.float32)
    truth = np.array([[False, True], [False, False], [True, False], [True, True]])
    clips = clip_scores(got, truth, np.array([7, 7, 3, -1]))
    assert clips.clips.tolist() == [3, 7]
    np.testing.assert_allclose(clips.scores, [[0.9, 0.1], [0.4, 0.6]], rtol=1e-6)
    assert clips.targets.tolist() == [[True, False], [False, True]]
    assert clips.accuracy() == 1.0
    assert clips.only([7]).clips.tolist() == [7]


def test_accuracy_is_among_the_labels_that_occur_and_of_single_ones() -> None:
    scores = np.array([[0.1, 0.4, 0.9], [0.5, 0.4, 0.9], [0.9, 0.8, 0.1]], np.float32)
    truth = np.array([[0, 1, 0], [0, 1, 0], [1, 1, 0]], np.bool_)
    clips = ClipScores(np.arange(3), scores, truth)
    assert clips.accuracy() == 0.5  # the third label never occurs, the third recording has two
    assert np.isnan(clips.only([2]).accuracy())


def test_some_folds_and_what_is_looked_at() -> None:
    features = [two_classes(60), two_classes(30, tokens=10)]
    assert {int(k) for f in only_folds(features, {2, 3}) for k in f.fold} == {2, 3}
    assert only_folds(features, {9}) == []
    assert sum(map(len, watched(features))) == 90
    many = [two_classes(2500)]
    assert 800 <= sum(map(len, watched(many))) <= 1000


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=4, max_size=60),
    st.sampled_from([0.5, 0.8, 0.9, 1.0]),
)
def test_a_threshold_reaches_the_precision_and_is_the_lowest(
    rows: list[tuple[int, bool]], precision: float
) -> None:
    got = np.array([[s / 1000] for s, _ in rows], np.float32)
    targets = np.array([[t] for _, t in rows], np.bool_)
    (chosen,) = choose_thresholds(got, targets, precision)
    assert 0.25 <= chosen <= 0.9
    if targets.sum() < 3:
        assert chosen == 0.5
        return

    def reached(threshold: float) -> bool:
        flagged = got[:, 0].astype(float) >= threshold
        return bool(flagged.any() and targets[flagged].mean() >= precision - 1e-6)

    if any(reached(t / 1000) for t in range(250, 901)):
        assert reached(chosen)
        assert not any(reached(t / 1000) for t in range(250, round(chosen * 1000)))
    elif chosen < 0.9:
        flagged = got[:, 0].astype(float) >= chosen
        assert targets[flagged].mean() >= LEAST_PRECISION


def test_speech_seldom_reaches_another_sounds_threshold() -> None:
    rng = np.random.default_rng(0)
    targets = np.zeros((4000, 3), np.bool_)  # speech, a sound, one with too few examples
    targets[:3000, 0] = True
    targets[2950:3500, 1] = True
    targets[3500:3502, 2] = True
    got = np.where(targets, 0.9, 0.1).astype(np.float32)
    got[:3000, 1:] = np.maximum(got[:3000, 1:], rng.uniform(0.0, 0.8, (3000, 2)))  # what it says of talking
    got[2950:3500, 1] = rng.uniform(0.4, 1.0, 550)
    free = choose_thresholds(got, targets)
    told = choose_thresholds(got, targets, speech=0)
    alone = targets[:, 0] & ~targets[:, 1]
    assert (got[alone, 1] >= free[1]).mean() > FALSE_IN_SPEECH
    assert (got[alone, 1] >= told[1]).mean() <= FALSE_IN_SPEECH
    assert (got[alone, 1] >= told[1] - 0.002).mean() > FALSE_IN_SPEECH  # and no higher than that takes
    assert (free[2], told[2]) == (0.5, pytest.approx(0.8, abs=0.02))
    assert told[0] == free[0]


def test_precision_and_recall_at_the_thresholds() -> None:
    got = np.array([[0.9, 0.1, 0.2], [0.8, 0.2, 0.2], [0.3, 0.3, 0.2]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], np.bool_)
    precision, recall = at_thresholds(got, truth, [0.5, 0.15, 0.9])
    assert precision[:2].tolist() == [0.5, 0.5]
    assert recall[:2].tolist() == [0.5, 1.0]
    assert np.isnan(precision[2])
    assert np.isnan(recall[2])
