"""``streamer train wav2vec2`` and ``streamer train wav2vec``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.resources import config_dir
from streamer.training.config import read_settings
from streamer.training.pretrain.config import Wav2Vec2Config, Wav2VecConfig
from tests.cli.conftest import lines
from tests.tiny_speech import save_speech
from tests.training.tones import tone, write_tones, write_wav

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = "batch = 2\nevery = 2\ncrop = 0.5\nshortest = 0.4\nheld_out = 0.3\n"
SIZES = """[sizes]
width = 32
layers = 2
heads = 2
inner = 48
convolutions = [16, 16, 16, 16, 16, 16, 16]
positions = 16
codes = 8
code_width = 12
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tones, one of them too short."""
    for i in range(5):
        write_wav(tmp_path / "data" / f"{i}.wav", tone(300 + 300 * i, 0.1 if i == 4 else 0.6, i))
    return tmp_path / "data"


def run(tmp_path: Path, *command: str) -> Result:
    return CliRunner().invoke(main, ["train", *command, "--data", str(tmp_path / "data"), "--json"])


def features(tmp_path: Path, encoder: Path) -> dict[str, np.ndarray]:
    out = tmp_path / "features.npz"
    command = ["features", str(tmp_path / "data" / "0.wav"), "--encoder", str(encoder), "--out", str(out)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return dict(np.load(out))


def test_from_audio_to_an_encoder_that_others_learn_from(tmp_path: Path, data: Path) -> None:
    (tmp_path / "quick.toml").write_text(QUICK + SIZES)
    (tmp_path / "ctc.toml").write_text("batch = 4\nevery = 2\n")
    command = ["wav2vec2", "--config", str(tmp_path / "quick.toml"), "--out", str(tmp_path / "out")]
    done = run(tmp_path, *command, "--steps", "4")
    assert done.exit_code == 0, done.output
    (row,) = lines(done.stdout)
    assert row["step"] == 4
    assert {"accuracy", "perplexity", "target_similarity", "random_similarity"} <= set(row)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["step"] for one in report["curve"]] == [2, 4]
    assert features(tmp_path, tmp_path / "out")["0.wav"].shape == (29, 32)
    # Going on from it, and learning to write.
    more = ["wav2vec2", "--config", str(tmp_path / "quick.toml"), "--out", str(tmp_path / "more")]
    done = run(tmp_path, *more, "--steps", "2", "--encoder", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    write_tones(tmp_path / "data")
    command = ["ctc", "--encoder", str(tmp_path / "more"), "--out", str(tmp_path / "ctc")]
    done = run(tmp_path, *command, "--steps", "2", "--config", str(tmp_path / "ctc.toml"))
    assert done.exit_code == 0, done.output


def test_from_audio_to_a_wav2vec_of_fairseqs_layout(tmp_path: Path, data: Path) -> None:
    (tmp_path / "quick.toml").write_text(QUICK + "width = 16\n")
    out = tmp_path / "out.pt"
    command = ["wav2vec", "--config", str(tmp_path / "quick.toml"), "--steps", "2", "--out"]
    done = run(tmp_path, *command, str(out))
    assert done.exit_code == 0, done.output
    assert lines(done.stdout)[0]["step"] == 2
    assert features(tmp_path, out)["0.wav"].shape == (58, 16)
    assert (tmp_path / "out.pt.work" / "report.json").exists()
    done = run(tmp_path, *command, str(tmp_path / "more.pt"), "--encoder", str(out))
    assert done.exit_code == 0, done.output
    wrong = run(tmp_path, *command, str(tmp_path / "folder"))
    assert wrong.exit_code == 2
    assert "ending in .pt" in wrong.output


def test_what_cannot_be_used(tmp_path: Path, data: Path) -> None:
    save_speech(tmp_path / "w2v2", kind="Model")
    done = run(tmp_path, "wav2vec", "--out", str(tmp_path / "a.pt"), "--encoder", str(tmp_path / "w2v2"))
    assert done.exit_code == 1
    assert "expected a fairseq checkpoint of wav2vec" in done.output
    (tmp_path / "bad.toml").write_text("shortest = 6.0\n")
    done = run(tmp_path, "wav2vec2", "--out", str(tmp_path / "b"), "--config", str(tmp_path / "bad.toml"))
    assert done.exit_code == 1
    assert "shortest ≤ crop" in done.output
    (tmp_path / "bad.toml").write_text("shortest = 0.3\n[task]\nspan = 20\n")
    done = run(tmp_path, "wav2vec2", "--out", str(tmp_path / "b"), "--config", str(tmp_path / "bad.toml"))
    assert done.exit_code == 1
    assert "fewer frames than the 14 of 0.3 s" in done.output
    done = run(tmp_path, "wav2vec2", "--out", str(tmp_path / "b"))
    assert done.exit_code == 1
    assert "expected recordings of 1 s or more" in done.output


def test_the_files_of_defaults_have_them() -> None:
    folder = config_dir() / "training"
    assert read_settings(Wav2Vec2Config, folder / "wav2vec2.toml") == Wav2Vec2Config()
    assert read_settings(Wav2VecConfig, folder / "wav2vec.toml") == Wav2VecConfig()
