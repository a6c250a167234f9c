from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.training.tags.cache import DIGEST, FeatureCache

SHAPE = (2, 3)


def digests(*numbers: int) -> list[bytes]:
    return [bytes([n]) * DIGEST for n in numbers]


def values(*numbers: int, tokens: int = 4) -> np.ndarray:
    rows = [np.full((SHAPE[0], tokens, SHAPE[1]), n, np.float16) for n in numbers]
    return np.stack(rows)


def fill(root: Path, *numbers: int, tokens: int = 4) -> FeatureCache:
    cache = FeatureCache(root, "enc", SHAPE)
    with cache.filling():
        cache.append(
            tokens, digests(*numbers), [n % 2 == 0 for n in numbers], values(*numbers, tokens=tokens)
        )
    return cache


def test_what_was_put_in_comes_out_whatever_the_order(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2)
    fill(tmp_path, 7, tokens=10)
    fill(tmp_path, 3)
    cache = FeatureCache(tmp_path, "enc", SHAPE)
    assert len(cache) == 4
    rows, heard = cache.find(4, digests(3, 1, 2))
    assert heard.tolist() == [False, False, True]
    np.testing.assert_array_equal(cache.values(4)[rows], values(3, 1, 2))
    assert isinstance(cache.values(4), np.memmap)
    assert cache.has(10, *digests(7))
    assert not cache.has(4, *digests(7))
    with pytest.raises(KeyError):
        cache.find(4, digests(9))


def test_another_encoder_has_another_folder(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    assert len(FeatureCache(tmp_path, "other", SHAPE)) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.integers(0, 3 * 48), st.integers(0, 3 * (DIGEST + 1)))
def test_whatever_a_kill_cut_off_whole_rows_are_kept_and_the_next_run_goes_on(
    tmp_path: Path, data_left: int, rows_left: int
) -> None:
    for path in (tmp_path / "enc").glob("*"):
        path.unlink()
    cache = fill(tmp_path, 1, 2, 3)
    with (cache.folder / "4.f16").open("r+b") as file:
        file.truncate(data_left)
    with (cache.folder / "4.rows").open("r+b") as file:
        file.truncate(rows_left)
    again = FeatureCache(tmp_path, "enc", SHAPE)
    whole = min(data_left // 48, rows_left // (DIGEST + 1))
    assert len(again) == whole
    missing = [n for n in (1, 2, 3) if not again.has(4, *digests(n))]
    assert len(missing) == 3 - whole
    after = fill(tmp_path, *missing, 4)
    rows, heard = FeatureCache(tmp_path, "enc", SHAPE).find(4, digests(1, 2, 3, 4))
    np.testing.assert_array_equal(after.values(4)[rows], values(1, 2, 3, 4))
    assert heard.tolist() == [False, True, False, True]


def hold(root: Path, held: object, go: object) -> None:
    with FeatureCache(root, "enc", SHAPE).filling():
        held.set()  # type: ignore[attr-defined]
        go.wait(30)  # type: ignore[attr-defined]


def test_two_runs_do_not_fill_it_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, go = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, go))
    other.start()
    try:
        assert held.wait(30)
        cache = FeatureCache(tmp_path, "enc", SHAPE)
        with pytest.raises(StreamerError, match=r"another run is filling.*--cache"), cache.filling():
            pass
    finally:
        go.set()
        other.join(30)
    with FeatureCache(tmp_path, "enc", SHAPE).filling():
        pass


def test_rows_of_a_run_that_ended_meanwhile_are_seen(tmp_path: Path) -> None:
    early = FeatureCache(tmp_path, "enc", SHAPE)
    fill(tmp_path, 1, 2)
    with early.filling():
        assert early.has(4, *digests(2))
        early.append(4, digests(3), [True], values(3))
    rows, _ = FeatureCache(tmp_path, "enc", SHAPE).find(4, digests(1, 2, 3))
    np.testing.assert_array_equal(early.values(4)[rows], values(1, 2, 3))
