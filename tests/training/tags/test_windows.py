from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE, TOKEN
from streamer.training.corpus import Clip
from streamer.training.sounds import MAKERS
from streamer.training.tags.names import SPEECH
from streamer.training.tags.pieces import SHORTEST, SILENT, loudest
from streamer.training.tags.windows import Files, Packed, Planner, Recordings, Window, WindowConfig
from tests.training.corpora import make_pack, noise, speech_pack, tone, write_wav

CONFIG = WindowConfig(views=2, talk=3, empty=4, made=1, background=0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("windows")
    write_wav(root / "dog.wav", tone(1.0, 300))
    write_wav(root / "rain.wav", noise(5.1))
    write_wav(root / "hum.wav", tone(3.0, 50))
    for i in range(3):
        write_wav(root / f"talk{i}.wav", noise(0.7, 10 + i))
    return root


def clips_of(place: Path) -> list[Clip]:
    def clip(name: str, *labels: str, fold: int = 0) -> Clip:
        return Clip(name, str(place / f"{name}.wav"), "x", labels=labels, fold=fold)

    return [clip("dog", "Dog", fold=1), clip("rain", "Rain", fold=2), clip("hum")]


def talk_of(place: Path) -> list[Clip]:
    return [Clip(f"talk{i}", str(place / f"talk{i}.wav"), "s", labels=(SPEECH,)) for i in range(3)]


def planned(place: Path, config: WindowConfig = CONFIG, seed: int = 0) -> list[Window]:
    planner = Planner(Files(), clips_of(place), talk_of(place), config, seed)
    return [*(w for i in range(3) for w in planner.of_clip(i)), *planner.others()]


def test_windows_are_what_they_say(place: Path) -> None:
    windows = planned(place)
    for w in windows:
        samples, _ = w.render()
        assert samples.dtype == np.float32
        assert len(samples) == w.length == w.tokens * TOKEN
        assert w.tokens >= SHORTEST
        assert np.isfinite(samples).all()
    whole = {w.clip: w for w in windows if w.clip >= 0}
    assert {i: w.source for i, w in whole.items()} == {0: ("Dog",), 1: ("Rain",), 2: ()}
    assert [whole[i].tokens for i in range(3)] == [4, 12, 7]  # padded, then cut to the token
    assert {w.labels for w in windows} >= {(), (SPEECH,)}
    assert {w.labels[0] for w in windows if w.labels} == {SPEECH, *MAKERS}
    assert {w.fold for w in windows if w.source == ("Dog",)} == {1}
    assert {w.fold for w in windows if w.origin == "" and not w.key.startswith("talk|")} == {0}


def test_equal_keys_are_equal_samples_and_keys_tell_windows_apart(place: Path) -> None:
    windows, again = planned(place), planned(place)
    assert [w.key for w in windows] == [w.key for w in again]
    assert len({w.digest for w in windows}) == len(windows)
    for one, other in zip(windows, again, strict=True):
        np.testing.assert_array_equal(one.render()[0], other.render()[0])
        assert one.render()[1] == other.render()[1]
    views = {w.key for w in windows if w.clip < 0}
    assert not views & {w.key for w in planned(place, seed=1) if w.clip < 0}
    assert {w.key for w in windows if w.clip >= 0} == {w.key for w in planned(place, seed=1) if w.clip >= 0}


def test_a_recording_more_changes_no_other_ones_windows(place: Path) -> None:
    clips, config = clips_of(place), replace(CONFIG, background=0.0, speech=0.0)
    one = [w.key for w in Planner(Files(), clips, (), config, 0).of_clip(0)]
    more = Planner(Files(), [clips[1], clips[0], clips[2]], (), config, 0)
    assert [w.key for w in more.of_clip(1)] == one


def test_a_changed_file_is_another_recording(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0, 300))
    clip = Clip("a", str(path), "x", labels=("Dog",))

    def keys() -> set[str]:
        return {w.key for w in Planner(Files(), [clip], (), CONFIG, 0).of_clip(0)}

    before = keys()
    assert keys() == before
    write_wav(path, tone(2.1, 300))
    assert not before & keys()


def test_speech_lies_over_its_share_of_the_views(place: Path) -> None:
    config = replace(CONFIG, views=100, lengths=(1.6,))
    planner = Planner(Files(), clips_of(place), talk_of(place), config, 0)
    views = [w for w in planner.of_clip(0) if w.clip < 0]
    assert 20 < sum(w.labels == (SPEECH,) for w in views) < 60
    silent = Planner(Files(), clips_of(place), (), config, 0)
    assert not any(w.labels for w in silent.of_clip(0))
    assert not any(SPEECH in w.labels for w in silent.others())


def test_voices_are_held_out_with_their_fold(place: Path) -> None:
    """A threshold is chosen on speakers whom the head of that fold has not heard."""
    people = {f"talk{i}": f"person {i}" for i in range(3)}
    talk = [replace(clip, speaker=people[clip.key]) for clip in talk_of(place)]
    keys = {Path(clip.path).stem: clip.speaker for clip in talk}
    assert keys == people
    planner = Planner(Files(), clips_of(place), talk, replace(CONFIG, talk=40), 0)
    windows = [w for w in planner.others() if w.key.startswith("talk|")]
    heard: dict[int, set[str]] = {}
    for w in windows:
        heard.setdefault(w.fold, set()).update(person for person in people if f"{person}.wav" in w.key)
    assert set(heard) <= {1, 2}
    assert len(windows) == 80
    assert not (heard.get(1, set()) & heard.get(2, set()))
    assert set().union(*heard.values()) == set(people)


def test_pauses_between_what_is_said_are_silent(place: Path) -> None:
    talk = [Clip("talk", str(place / "talk0.wav"), "s", labels=(SPEECH,))]
    config = replace(CONFIG, talk=30, views=1, background=0.0, lengths=(4.0,))
    planner = Planner(Files(), clips_of(place)[:2], talk, config, 0)
    windows = [w.render()[0] for w in planner.others() if w.key.startswith("talk|")]
    quiet = [float((piece == 0).mean()) for piece in windows]
    assert sum(share == 0 for share in quiet) > 5
    assert sum(share > 0.2 for share in quiet) > 5


def test_a_view_in_background_is_a_piece_somewhere_in_it(place: Path) -> None:
    config = replace(CONFIG, views=60, speech=0.0, background=1.0, lengths=(1.6,))
    planner = Planner(Files(), clips_of(place), (), config, 0)
    starts, ends = [], []
    for window in planner.of_clip(1):
        if window.clip < 0:
            # The background is a tone at 50 Hz; the recording is noise, which alone has anything at 2 kHz.
            spectrum = np.abs(np.fft.rfft(window.render()[0].reshape(-1, 160)))[:, 20:].sum(1)
            loud = np.flatnonzero(spectrum > 0.3 * spectrum.max())
            starts.append(loud[0])
            ends.append(loud[-1])
    assert min(starts) < 20 < 60 < max(starts)
    assert min(ends) < 100 < 140 < max(ends)


def test_half_of_the_empty_windows_are_hiss_or_silence(place: Path) -> None:
    for made in (0, 1):
        config = replace(CONFIG, empty=40, views=1, talk=0, made=made)
        windows = [w for w in planned(place, config) if w.key.startswith("empty|")]
        assert sum("hum.wav" in w.key for w in windows) == 20
        quiet = [loudest(w.render()[0]) for w in windows if "hum.wav" not in w.key]
        assert 0.0 in quiet
        # Loud hiss would contradict what the formula of white noise is called.
        assert (max(quiet) > 2 * SILENT) == (made == 0)


def test_broken_recordings_raise_and_are_never_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF nonsense")
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(tmp_path / "dog.wav", tone(2.0, 300))
    dog = Clip("dog", str(tmp_path / "dog.wav"), "x", labels=("Dog",))
    bad = [Clip(name, str(tmp_path / f"{name}.wav"), "x") for name in ("broken", "empty", "nowhere")]
    planner = Planner(Files(), [dog, *bad], bad, replace(CONFIG, speech=1.0, background=1.0), 0)
    for i in range(1, 4):
        with pytest.raises(StreamerError, match=bad[i - 1].key):
            list(planner.of_clip(i))
    for window in (*planner.of_clip(0), *planner.others()):
        window.render()


def test_lengths_are_remembered_and_a_torn_line_is_not_believed(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a b.wav", tone(2.0, 300))
    clip, index = Clip("a", str(path), "x"), tmp_path / "lengths.tsv"
    assert Files(index).length(clip) == 2 * SAMPLE_RATE
    known = Files(index)
    known.audio = lambda clip: pytest.fail("decoded again")  # type: ignore[method-assign]
    assert known.length(clip) == 2 * SAMPLE_RATE
    index.write_bytes(index.read_bytes()[:-3])
    assert Files(index).length(clip) == 2 * SAMPLE_RATE
    assert Files(index).length(clip) == 2 * SAMPLE_RATE
    assert index.read_bytes().endswith(b"\t32000\n")


def test_packs_and_files_are_the_same_to_a_planner(tmp_path: Path) -> None:
    sounds = make_pack(tmp_path / "p", [(Clip("d", "", "x", labels=("Dog",), fold=1), tone(1.5, 300))])
    speech = speech_pack(tmp_path / "s", 2)
    packed: Recordings = Packed(sounds, speech)
    planner = Planner(packed, sounds.clips, speech.clips, CONFIG, 0)
    for window in (*planner.of_clip(0), *planner.others()):
        assert len(window.render()[0]) == window.length
    assert packed.length(sounds.clips[0]) == len(packed.audio(sounds.clips[0]))
