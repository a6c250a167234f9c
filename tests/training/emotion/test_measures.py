"""Against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.training.emotion.measures import measure


@pytest.mark.parametrize("seed", range(4))
def test_measures_are_scikit_learns(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    truth, told = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    found = measure(truth.tolist(), told.tolist(), 4)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, told))
    assert found.uar == pytest.approx(metrics.balanced_accuracy_score(truth, told))
    assert found.f1 == pytest.approx(metrics.f1_score(truth, told, average="macro"))
    assert (found.confusion == metrics.confusion_matrix(truth, told)).all()


def test_labels_that_do_not_occur_and_genders() -> None:
    found = measure([0, 0, 2, 2], [0, 1, 2, 2], 4, ["female", "male", "", "female"])
    assert found.uar == pytest.approx(0.75)
    assert found.by_gender == {"female": 1.0, "male": 0.0}
