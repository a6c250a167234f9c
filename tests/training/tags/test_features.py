from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamer.tagging.detector import SILENCE
from streamer.training.corpus import Clip
from streamer.training.tags.cache import FeatureCache
from streamer.training.tags.encoders import FrozenEncoder
from streamer.training.tags.features import fill_cache, label_counts, plan, read_features
from streamer.training.tags.names import SPEECH
from streamer.training.tags.pieces import SILENT, loudest
from streamer.training.tags.windows import Files, Planner, WindowConfig
from tests.training.corpora import noise, tone, write_wav
from tests.training.tags.tools import encoder, two_classes

CONFIG = WindowConfig(views=1, lengths=(1.6, 2.4), talk=0, empty=2)


def make_planner(root: Path) -> Planner:
    write_wav(root / "dog.wav", tone(1.0, 300))
    write_wav(root / "rain.wav", noise(5.0))
    (root / "broken.wav").write_bytes(b"nonsense")
    clips = [
        Clip(name, str(root / f"{name}.wav"), "x", labels=labels, fold=fold)
        for name, labels, fold in (
            ("dog", ("Dog", "Animal"), 1),
            ("rain", ("Rain",), 2),
            ("broken", ("Dog",), 1),
        )
    ]
    return Planner(Files(), clips, (), CONFIG, 0)


def cache_of(root: Path, frozen: FrozenEncoder) -> FeatureCache:
    return FeatureCache(root, frozen.identity, (frozen.info.n_layer, frozen.info.n_state))


def test_features_of_every_window_with_its_labels(tmp_path: Path) -> None:
    frozen = encoder()
    windows, skipped = plan(make_planner(tmp_path))
    assert [Path(one.where).name for one in skipped] == ["broken.wav"]
    cache = cache_of(tmp_path / "cache", frozen)
    assert fill_cache(frozen, windows, cache, batch=2, progress=False) == []
    assert frozen.passes == len(windows) == len(cache)
    features = read_features(cache, windows, ["Dog", "Rain"])
    assert sum(map(len, features)) == len(windows)
    for f in features:
        assert f.values.shape[1:] == (2, f.values.shape[2], 64)
        for row in range(len(f)):
            one = f.only(np.array([row]))
            for window in [w for w in windows if w.clip == one.clip[0] >= 0]:
                assert one.targets.tolist() == [["Dog" in window.source, "Rain" in window.source]]
                wanted = encoder().features([window.render()[0]])
                np.testing.assert_allclose(one.take(np.array([0])).numpy(), wanted, atol=2e-3)
    assert label_counts(features).tolist() == [
        sum("Dog" in w.source and w.render()[1] for w in windows),
        sum("Rain" in w.source and w.render()[1] for w in windows),
    ]


def test_the_encoder_hears_every_window_once(tmp_path: Path) -> None:
    frozen = encoder()
    planner = make_planner(tmp_path)
    for _ in range(3):
        windows, _ = plan(Planner(Files(), planner.clips, (), CONFIG, 0))
        fill_cache(frozen, windows, cache_of(tmp_path / "cache", frozen), progress=False)
        assert frozen.passes == len(windows)


def test_transcribed_speech_is_material_and_has_no_windows_of_its_own(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", noise(2.0))
    said = Clip("t", str(tmp_path / "talk.wav"), "s", labels=(SPEECH,), text="good morning")
    windows, _ = plan(Planner(Files(), [said], [said], replace(CONFIG, talk=2), 0))
    assert [w.labels for w in windows if w.labels] == [(SPEECH,)] * 2
    assert not [w for w in windows if w.origin]
    labelled = replace(said, text=None)
    assert [w for w in plan(Planner(Files(), [labelled], (), CONFIG, 0))[0] if w.origin]


def test_what_nobody_can_hear_is_silence(tmp_path: Path) -> None:
    frozen = encoder()
    write_wav(tmp_path / "dog.wav", np.concatenate([tone(0.4, 300), np.zeros(64000, np.float32)]))
    write_wav(tmp_path / "hum.wav", tone(5.0, 60))
    clips = [
        Clip("dog", str(tmp_path / "dog.wav"), "x", labels=("Dog",), fold=1),
        Clip("hum", str(tmp_path / "hum.wav"), "x", fold=1),
    ]
    windows, _ = plan(Planner(Files(), clips, (), replace(CONFIG, views=10), 0))
    cache = cache_of(tmp_path / "cache", frozen)
    fill_cache(frozen, windows, cache, progress=False)
    labels = ["Dog", SILENCE]
    silent = {w.key: loudest(w.render()[0]) < SILENT for w in windows}
    assert sum(silent[w.key] for w in windows if w.source) > 1  # views of the recording's quiet end
    for w in windows:
        (one,) = read_features(cache, [w], labels)
        said = {name for name, true in zip(labels, one.targets[0], strict=True) if true}
        if silent[w.key]:
            assert said == {SILENCE}
        elif "Dog" in w.source:
            assert said == ({"Dog"} if w.render()[1] else set())


class Killed(BaseException):
    pass


class Dying(FrozenEncoder):
    """Is killed in its third batch."""

    def features(self, windows: object) -> np.ndarray:
        if self.passes >= 4:
            raise Killed
        return super().features(windows)  # type: ignore[arg-type]


def test_a_killed_run_goes_on_and_ends_with_the_same_features(tmp_path: Path) -> None:
    frozen = encoder()
    windows, _ = plan(make_planner(tmp_path))
    whole = cache_of(tmp_path / "whole", frozen)
    fill_cache(frozen, windows, whole, batch=2, progress=False)

    dying = Dying(frozen.info, frozen.module, frozen.short, frozen.identity)
    cache = cache_of(tmp_path / "cache", frozen)
    try:
        fill_cache(dying, windows, cache, batch=2, progress=False)
    except Killed:
        done = len(cache_of(tmp_path / "cache", frozen))
    assert 0 < done < len(windows)
    again = encoder()
    cache = cache_of(tmp_path / "cache", frozen)
    fill_cache(again, windows, cache, batch=2, progress=False)
    assert again.passes == len(windows) - done
    for one, other in zip(
        read_features(whole, windows, ["Dog"]), read_features(cache, windows, ["Dog"]), strict=True
    ):
        everything = np.arange(len(one))
        np.testing.assert_allclose(one.take(everything).numpy(), other.take(everything).numpy(), atol=2e-3)
        assert one.identity == other.identity


def test_a_recording_that_breaks_after_its_length_was_taken_is_left_out(tmp_path: Path) -> None:
    frozen, clips = encoder(), make_planner(tmp_path).clips
    index, dog = tmp_path / "lengths.tsv", tmp_path / "dog.wav"
    plan(Planner(Files(index), clips, (), CONFIG, 0))
    stat = dog.stat()
    dog.write_bytes(bytes(stat.st_size))
    os.utime(dog, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    windows, _ = plan(Planner(Files(index), clips, (), CONFIG, 0))
    cache = cache_of(tmp_path / "cache", frozen)
    (skipped,) = fill_cache(frozen, windows, cache, progress=False)
    assert skipped.where == str(dog)
    features = read_features(cache, windows, ["Dog", "Rain"])
    assert label_counts(features)[0] == 0
    assert label_counts(features)[1] > 0


def test_some_of_the_windows_are_their_rows() -> None:
    features = two_classes(10)
    some = features.only(np.array([3, 7]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.take(np.array([1])).numpy(), features.take(np.array([7])).numpy())
    np.testing.assert_array_equal(some.targets, features.targets[[3, 7]])
