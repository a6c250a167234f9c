"""``streamer eval tags``: from folders of recordings to tables, on a model that says Dog always."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.cli.eval_tags import _pieces
from streamer.cli.eval_tags_data import Choice, gather
from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE
from streamer.training.corpus import Pack, read_manifest
from tests.cli.tiny import make_wav, speech_like
from tests.evaluation.recordings import noise, silence, tone

RECIPE = "[mixtures]\nseconds = 5.0\nlead = 0.5\napart = [1.0, 2.0]\nlongest = 1.5\n"


def write(path: Path, audio: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder for each label, of which the model knows two, and a recording without one."""
    folder = tmp_path / "sounds"
    for name, hz in (("dog", 500), ("Siren", 1500), ("Unicorn", 2500)):
        for i in range(2):
            write(folder / name / f"{i}.wav", np.concatenate([silence(0.3), tone(hz, 1.0 + i), silence(0.3)]))
    write(folder / "white_noise.wav", noise(9.0))
    return folder


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    folder = tmp_path / "talk"
    rows = []
    for i, split in enumerate(("train", "test")):
        write(folder / f"{i}.wav", speech_like(1.2 + i))
        rows.append({"path": f"{i}.wav", "text": "some words", "split": split, "speaker": f"s{i}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def tags(tiny: Path, *arguments: object) -> Result:
    command = ["eval", "tags", "--model", str(tiny), "--set", "model.threads=1", *map(str, arguments)]
    return CliRunner().invoke(main, command)


def test_whole_recordings(tiny: Path, data: Path, tmp_path: Path) -> None:
    done = tags(tiny, "--data", data, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["left_out"] == {"Unicorn": 2}
    assert out["clips"]["clips"] == 4
    # Dog first, whatever is heard: right for every other recording, and no ranking at all.
    assert out["clips"]["top1"] == 0.5
    assert [(row["label"], row["count"]) for row in out["clips"]["labels"]] == [("Dog", 2), ("Siren", 2)]
    assert "Recordings, by label" in done.stdout
    assert "Unicorn (2)" in done.stderr
    assert "does not say which recordings" in done.stderr
    assert "events" not in out


def test_events_words_and_everything_else(
    tiny: Path, data: Path, talk: Path, recipe: Path, tmp_path: Path
) -> None:
    pytest.importorskip("whisper.normalizers", reason="texts in Whisper's normal form")
    pytest.importorskip("matplotlib", reason="draws")
    keep, out_file, picture = tmp_path / "keep", tmp_path / "out.json", tmp_path / "out.png"
    asked = ["--data", data, "--speech", talk, "--mixtures", 1, "--speech-only", 0.1, "--sounds-only", 0.05]
    kept = ["--recipe", recipe, "--keep", keep, "--json", out_file, "--picture", picture]
    done = tags(tiny, *asked, *kept)
    assert done.exit_code == 0, done.output
    out = json.loads(out_file.read_text())
    scenes = [json.loads(line) for line in (keep / "truth.jsonl").read_text().splitlines()]
    assert {scene["variant"] for scene in scenes} == {
        "sounds",
        "speech",
        "both",
        "speech-only",
        "sounds-only",
    }
    assert all((keep / scene["file"]).is_file() for scene in scenes)
    assert all(scene["ignored"][0] == "White noise" for scene in scenes if scene["background"])

    for variant in ("sounds", "both"):
        events = out["events"][variant]
        true = [s["label"] for scene in scenes if scene["variant"] == variant for s in scene["sounds"]]
        labels = {row["label"]: row for row in events["labels"]}
        assert events["count"] == len(true) > 0
        assert labels["Dog"]["count"] == true.count("Dog")
        # Dog is reported once, from the beginning to the end of the file.
        assert events["found"] == labels["Dog"]["found"] == min(1, true.count("Dog"))
        assert set(out["psds"][variant]) == {"psds1", "psds2"}
    assert out["events"]["speech"]["false"] == 1
    assert [row["snr"] for row in out["speech_over_sounds"]] == [0]
    assert all(row["words"] > 0 for row in out["speech_over_sounds"])
    assert out["speech_only"]["what"] == {"Dog": 1}
    assert out["sounds_only"]["seconds"] == pytest.approx(3)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    for title in ("Events", "Speech over sounds", "One without the other"):
        assert f"\n{title}\n" in done.stdout
    assert "\nRecordings\n" not in done.stdout


def test_annotated_recordings(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    make_wav(folder / "a.wav", 0.5, 3.0, 0.5)
    row = {"file": "a.wav", "seconds": 4.0, "sounds": [{"onset": 0.5, "offset": 3.5, "label": "Dog"}]}
    (folder / "truth.jsonl").write_text(json.dumps(row))
    done = tags(tiny, "--truth", folder, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    events = json.loads((tmp_path / "out.json").read_text())["events"]["recorded"]
    assert (events["count"], events["found"], events["duplicates"], events["false"]) == (1, 1, 0, 0)
    assert events["onset_error_median"] <= 0.8


def test_what_is_missing_is_said_before_anything_slow(tiny: Path, data: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([], "give --data"),
        (["--mixtures", 3], "give --data"),
        (["--speech-only", 1, "--data", data], "give --speech"),
        (["--data", data, "--fold", 7], "of that --split and --fold"),
        (["--data", tmp_path / "nowhere"], "nowhere"),
        (["--truth", tmp_path], "truth.jsonl"),
    ):
        done = tags(tiny, *arguments)
        assert done.exit_code in (1, 2), done.output
        assert message in done.output
    (tmp_path / "bad.toml").write_text("[mixtures]\nsecond = 3\n")
    done = tags(tiny, "--data", data, "--recipe", tmp_path / "bad.toml")
    assert "Did you mean 'seconds'" in done.output


def test_a_pack_gives_what_its_folder_gives(data: Path, talk: Path, tmp_path: Path) -> None:
    rows = [
        {"path": str(path.relative_to(data)), "label": path.parent.name, "fold": i}
        for i, path in enumerate(sorted(data.glob("*/*.wav")))
    ]
    rows.append({"path": "white_noise.wav"})
    (data / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    clips = [*read_manifest(data, "sounds")]
    Pack(tmp_path / "pack").extend(clips, progress=False)
    Pack(tmp_path / "talk-pack").extend(read_manifest(talk, "talk"), progress=False)
    ignored = {"white": ("White noise",)}
    one, two = (
        gather([folder], [speech], ["Dog", "Siren"], Choice(speakers={"s1"}), ignored)
        for folder, speech in ((data, talk), (tmp_path / "pack", tmp_path / "talk-pack"))
    )
    assert one.left_out == two.left_out == {"Unicorn": 2}

    def content(recordings: object) -> list[tuple[object, ...]]:
        return sorted((r.labels, r.text, r.ignored, len(r.load())) for r in recordings)  # type: ignore[attr-defined]

    assert content(one.recordings) == content(two.recordings)
    assert len(one.recordings) == 4 + 1 + 1
    fold = gather([tmp_path / "pack"], [], ["Dog", "Siren"], Choice(folds=(1,)), ignored)
    assert len(fold.sounds) == 1
    with pytest.raises(StreamerError, match="--speakers"):
        gather([], [tmp_path / "talk-pack"], [], Choice(speakers={"nobody"}), {}, need_sounds=False)


def test_backgrounds_are_chosen_where_they_name_the_split(data: Path) -> None:
    rows = [{"path": "dog/0.wav", "label": "dog", "split": "test"}, {"path": "white_noise.wav"}]

    def backgrounds(*more: dict[str, str]) -> int:
        (data / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *more]))
        found = gather([data], [], ["Dog"], Choice(split="test"), {})
        return sum(not one.labels for one in found.recordings)

    assert backgrounds() == 1
    assert backgrounds({"path": "dog/1.wav"}, {"path": "Siren/1.wav", "split": "test"}) == 1
    assert backgrounds({"path": "dog/1.wav"}) == 2


def test_pieces_are_equal_and_add_up() -> None:
    assert _pieces(0, 300) == []
    assert _pieces(1, 300) == [60]
    assert _pieces(11, 300) == [220] * 3
