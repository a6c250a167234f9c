"""``streamer train ctc``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.resources import config_dir
from streamer.training.config import read_settings
from streamer.training.ctc.fit import CtcConfig
from tests.cli.conftest import lines
from tests.tiny_speech import save_speech
from tests.training.tones import HIGH, LOW, tone, write_tones, write_wav

pytestmark = pytest.mark.filterwarnings("ignore")


def train(tmp_path: Path, *more: str, settings: str = "") -> Result:
    (tmp_path / "quick.toml").write_text(settings)
    command = ["train", "ctc", "--data", str(tmp_path / "data"), "--encoder", str(tmp_path / "w2v2")]
    command += ["--out", str(tmp_path / "out"), "--config", str(tmp_path / "quick.toml"), "--json", *more]
    return CliRunner().invoke(main, command)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    save_speech(tmp_path / "w2v2", kind="Model", large=True)
    return tmp_path / "w2v2"


def test_from_recordings_to_a_checkpoint_that_writes(tmp_path: Path, encoder: Path) -> None:
    data = write_tones(tmp_path / "data")
    write_wav(data / "short.wav", tone(LOW, 0.02))
    with (data / "manifest.jsonl").open("a") as manifest:
        manifest.write(json.dumps({"path": "short.wav", "text": "hi om hi om"}) + "\n")
    settings = "batch = 4\nevery = 60\nrate = 1e-2\ndropout = 0.0\nmask_time = 0.0\n"
    done = train(tmp_path, "--steps", "120", settings=settings)
    assert done.exit_code == 0, done.output
    rows = lines(done.stdout)
    assert [(row["split"], row["utterances"], row["wer"]) for row in rows] == [
        ("valid", 2, 0),
        ("test", 2, 0),
    ]
    assert "short.wav" in (tmp_path / "out.work" / "left-out.txt").read_text()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["step"] for row in report["curve"]] == [60, 120]
    low, high = (write_wav(tmp_path / f"{pitch}.wav", tone(pitch)) for pitch in (LOW, HIGH))
    said = CliRunner().invoke(main, ["transcribe", "--model", str(tmp_path / "out"), str(low), str(high)])
    assert said.exit_code == 0, said.output
    assert "om" in said.stdout
    assert "hi" in said.stdout
    again = train(tmp_path, "--steps", "120", settings=settings)  # nothing is left to do
    assert lines(again.stdout) == rows
    other = train(tmp_path, "--steps", "180", settings=settings)
    assert other.exit_code == 1
    assert "expected the training that was begun" in other.output


def test_recordings_without_transcripts(tmp_path: Path, encoder: Path) -> None:
    write_wav(tmp_path / "data" / "a.wav", tone(LOW))
    done = train(tmp_path)
    assert done.exit_code == 1
    assert "expected transcripts of the 1 recordings" in done.output


def test_letters_that_there_are_none_of(tmp_path: Path, encoder: Path) -> None:
    write_tones(tmp_path / "data")
    done = train(tmp_path, "--vocabulary", "keep")
    assert done.exit_code == 1
    assert "expected a checkpoint with a CTC head" in done.output


def test_letters_that_the_checkpoint_does_not_have(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2")
    write_tones(tmp_path / "data", text="naïve")
    done = train(tmp_path)
    assert done.exit_code == 1
    assert "'Ï'" in done.output


def test_clips_too_short_for_what_they_say(tmp_path: Path, encoder: Path) -> None:
    write_tones(tmp_path / "data", count=2, seconds=0.03)
    done = train(tmp_path)
    assert done.exit_code == 1
    assert "found none of 6 usable" in done.output


def test_an_encoder_of_another_family(tmp_path: Path, tiny: Path) -> None:
    write_tones(tmp_path / "data")
    done = train(tmp_path, "--encoder", str(tiny))
    assert done.exit_code == 1
    assert "expected a folder with a wav2vec 2.0, HuBERT or WavLM" in done.output


def test_the_file_of_defaults_has_them() -> None:
    assert read_settings(CtcConfig, config_dir() / "training" / "ctc.toml") == CtcConfig()
