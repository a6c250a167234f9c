from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.timebase import TOKEN
from streamer.training.corpus import Clip, Pack
from streamer.training.tags import (
    LABELS,
    LEAST_PRECISION,
    SPEECH,
    Features,
    TagConfig,
    choose_thresholds,
    cross_validate,
    extract,
    fit,
    label_of,
    make_windows,
    scores,
)
from tests.tiny import tiny_model
from tests.training.corpora import make_pack, noise, speech_pack, tone

CONFIG = TagConfig(width=16, epochs=30, batch=16, lr=3e-3)
DOG, RAIN = LABELS.index("Dog"), LABELS.index("Rain")


def two_classes(count: int = 60, seed: int = 0) -> Features:
    """Dogs point one way in feature space, rain the other; five folds, every window a whole clip."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 2, 4, 8, generator=rng) * 0.3
    targets = torch.zeros(count, len(LABELS))
    for i in range(count):
        values[i, :, :, :2] += torch.tensor([1.5, -1.5]) * (1 if i % 2 else -1)
        targets[i, DOG if i % 2 else RAIN] = 1
    return Features(values.half(), targets, 1 + np.arange(count) // 2 % 5, np.arange(count))


def test_a_head_separates_what_differs() -> None:
    seen, unseen = two_classes(), two_classes(seed=1)
    got = scores(fit([seen], CONFIG), unseen)
    assert got.shape == (60, len(LABELS))
    dogs = unseen.targets[:, DOG].numpy() > 0
    assert ((got[:, DOG] > got[:, RAIN]) == dogs).all()
    assert got[dogs, DOG].min() > 0.5 > got[~dogs, DOG].max()


def test_fitting_is_a_function_of_the_seed() -> None:
    config = TagConfig(width=16, epochs=2, batch=16)
    one, again = (fit([two_classes()], config) for _ in range(2))
    other = fit([two_classes()], TagConfig(width=16, epochs=2, batch=16, seed=1))
    assert torch.equal(one.mlp_layer[1].weight, again.mlp_layer[1].weight)
    assert not torch.equal(one.mlp_layer[1].weight, other.mlp_layer[1].weight)


def test_a_fold_left_out_is_not_learnt_from() -> None:
    """Windows of the fold that contradict all others change nothing."""
    config = TagConfig(width=16, epochs=2, batch=16)
    plain, poisoned = two_classes(), two_classes()
    rows = poisoned.fold == 3
    poisoned.values[torch.from_numpy(rows)] *= -5
    heads = [fit([f], config, leave_fold=3) for f in (plain, poisoned)]
    assert torch.equal(heads[0].mlp_layer[1].weight, heads[1].mlp_layer[1].weight)


def test_cross_validation_counts_the_test_clips() -> None:
    features = two_classes(40)
    config = replace(CONFIG, epochs=45, lr=1e-2)
    folds = cross_validate([features], config, set(range(40)))
    assert folds.accuracies == [1.0] * 5
    assert folds.scores.shape == folds.targets.shape == (40, len(LABELS))
    # Labels at random can only be right by chance.
    features.targets = features.targets[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert cross_validate([features], config, set(range(40))).accuracy < 0.8


def test_without_folds_there_is_nothing_to_measure() -> None:
    features = two_classes(10)
    features.fold[:] = 0
    with pytest.raises(StreamerError, match="'fold' from 1 to 5"):
        cross_validate([features], CONFIG, set())


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=4, max_size=60),
    st.sampled_from([0.5, 0.8, 0.9, 1.0]),
)
def test_a_threshold_reaches_the_precision_and_is_the_lowest(
    rows: list[tuple[int, bool]], precision: float
) -> None:
    got = np.array([[s / 1000] for s, _ in rows], np.float32)
    targets = np.array([[float(t)] for _, t in rows], np.float32)
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


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    clips = [
        (Clip("d", "", "esc10", labels=("dog",), fold=1), tone(1.0, 300)),
        (Clip("r", "", "esc10", labels=("rain",), fold=2), noise(5.0)),
        (Clip("n", "", "noise"), noise(2.0, 1)),
    ]
    return make_pack(tmp_path_factory.mktemp("sounds"), clips)


def test_windows_are_what_they_say(sounds: Pack, tmp_path: Path) -> None:
    speech = speech_pack(tmp_path, 3)
    windows = list(make_windows(sounds, speech, [0, 1, 2], rounds=1, seed=0))
    assert {w.clip: w.labels for w in windows if w.clip >= 0} == {0: ("Dog",), 1: ("Rain",)}
    for w in windows:
        assert w.samples.dtype == np.float32
        assert len(w.samples) % TOKEN == 0
        assert np.isfinite(w.samples).all()
        assert set(w.labels) <= set(LABELS)
    # Recordings keep their folds, so that none is tested on what it was trained on.
    assert {w.fold for w in windows if "Dog" in w.labels} == {1}
    assert {w.labels for w in windows} >= {(), (SPEECH,), ("Siren",), ("Siren", SPEECH)}
    again = islice(make_windows(sounds, speech, [0, 1, 2], rounds=1, seed=0), 30)
    assert all((a.samples == b.samples).all() for a, b in zip(windows, again, strict=False))


def test_features_are_grouped_by_length(sounds: Pack, tmp_path: Path) -> None:
    windows = list(islice(make_windows(sounds, speech_pack(tmp_path, 2), [0, 1], rounds=1, seed=0), 6))
    features = extract(tiny_model().model, windows, batch=2, progress=False)
    assert sum(len(f.values) for f in features) == 6
    for f in features:
        count, layers, tokens, width = f.values.shape
        assert (layers, width) == (2, 64)
        assert f.targets.shape == (count, len(LABELS))
        assert tokens * TOKEN in {len(w.samples) for w in windows}
    whole = next(f for f in features if (f.clip == 1).any())
    assert whole.targets[list(whole.clip).index(1)].nonzero().flatten().tolist() == [RAIN]


def test_labels_are_esc50s_or_audiosets() -> None:
    assert label_of("clock_tick") == "Tick-tock"
    assert label_of("Rain") == "Rain"
    with pytest.raises(StreamerError, match=r"(?i)found 'dogg'.*'dog'"):
        label_of("dogg")
