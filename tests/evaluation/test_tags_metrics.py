"""The measures against scikit-learn's, and at the edges where it only warns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.evaluation.tags_metrics import average_precision, d_prime, roc_auc, score_tags, top_k

# Few distinct scores, so that ties happen.
pairs = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40)


def arrays(drawn: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([truth for truth, _ in drawn]), np.array([score / 7 for _, score in drawn])


@settings(max_examples=200, deadline=None)
@given(pairs)
def test_average_precision_and_auc_are_scikit_learns(drawn: list[tuple[bool, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    truth, scores = arrays(drawn)
    if truth.any():
        assert average_precision(truth, scores) == pytest.approx(
            sklearn.average_precision_score(truth, scores)
        )
    if truth.any() and not truth.all():
        assert roc_auc(truth, scores) == pytest.approx(sklearn.roc_auc_score(truth, scores))


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_auc_counts_pairs(drawn: list[tuple[bool, int]]) -> None:
    truth, scores = arrays(drawn)
    if truth.all() or not truth.any():
        assert math.isnan(roc_auc(truth, scores))
        return
    above = scores[truth][:, None] - scores[~truth][None]
    assert roc_auc(truth, scores) == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_ranking_is_all_that_counts(drawn: list[tuple[bool, int]]) -> None:
    truth, scores = arrays(drawn)
    for measure in (average_precision, roc_auc):
        assert measure(truth, scores) == pytest.approx(measure(truth, np.exp(3 * scores)), nan_ok=True)


def test_a_perfect_ranking_and_the_opposite() -> None:
    assert average_precision([0, 1, 1], [0.1, 0.8, 0.9]) == 1
    assert roc_auc([0, 1, 1], [0.1, 0.8, 0.9]) == 1
    assert roc_auc([1, 0, 0], [0.1, 0.8, 0.9]) == 0
    assert average_precision([1, 0, 0, 0], [0.1, 0.8, 0.9, 0.5]) == 1 / 4
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))


def test_d_prime_is_the_distance_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    apart = 1.3
    scores = np.concatenate([rng.standard_normal(20000), rng.standard_normal(20000) + apart])
    assert d_prime(roc_auc(np.arange(40000) >= 20000, scores)) == pytest.approx(apart, abs=0.03)
    assert d_prime(0.5) == pytest.approx(0)
    assert (d_prime(1.0), d_prime(0.0)) == (math.inf, -math.inf)
    assert math.isnan(d_prime(math.nan))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_top_k_is_scikit_learns_for_one_label_each(seed: int, k: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    rng = np.random.default_rng(seed)
    wanted = np.concatenate([np.arange(6), rng.integers(0, 6, 20)])
    scores = rng.random((26, 6))
    assert top_k(np.eye(6)[wanted], scores, k) == pytest.approx(
        sklearn.top_k_accuracy_score(wanted, scores, k=k, labels=np.arange(6))
    )


def test_top_k_takes_any_true_label_and_leaves_out_what_has_none() -> None:
    truth = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    scores = [[0.1, 0.5, 0.9], [0.3, 0.2, 0.1], [0.9, 0.5, 0.1]]
    assert top_k(truth, scores, 1) == 1 / 2
    assert top_k(truth, scores, 2) == 1
    assert math.isnan(top_k(np.zeros((2, 3)), np.zeros((2, 3)), 1))


def test_a_set_has_means_over_the_labels_it_has() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    rng = np.random.default_rng(5)
    truth, scores = rng.random((60, 5)) < 0.3, rng.random((60, 5))
    truth[:, 4] = False
    found = score_tags(truth, scores, ["a", "b", "c", "d", "never"])
    assert found.mean_ap == pytest.approx(sklearn.average_precision_score(truth[:, :4], scores[:, :4]))
    assert found.auc == pytest.approx(sklearn.roc_auc_score(truth[:, :4], scores[:, :4]))
    assert found.d_prime == pytest.approx(d_prime(found.auc))
    assert [row.count for row in found.labels] == truth.sum(axis=0).tolist()
    assert math.isnan(found.labels[4].ap)
    assert found.clips == 60
    assert found.top1 <= found.top3


def test_wrong_shapes_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        average_precision([1, 0], [0.5])
    with pytest.raises(ValueError, match="2 axes"):
        top_k([1, 0], [0.5, 0.1], 1)
    with pytest.raises(ValueError, match="NaN"):
        roc_auc([1, 0], [0.5, math.nan])
    with pytest.raises(ValueError, match="3 columns"):
        score_tags(np.ones((2, 2)), np.ones((2, 2)), ["a", "b", "c"])
