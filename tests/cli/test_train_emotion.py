"""``streamer train emotion``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from streamer.cli import main
from streamer.config import ModelConfig
from streamer.engine import load_engine
from streamer.nn.definition import read_emotion_info
from streamer.resources import config_dir
from streamer.training.config import read_settings
from streamer.training.emotion.config import EmotionConfig
from tests.cli.conftest import lines
from tests.tiny_speech import save_speech
from tests.training.emotion.voices import write_ravdess

pytestmark = pytest.mark.filterwarnings("ignore")


def test_from_recordings_to_a_checkpoint_that_the_daemon_runs(tmp_path: Path) -> None:
    data = write_ravdess(tmp_path / "data", actors=3, takes=1)
    save_speech(tmp_path / "w2v2", "hubert", "Model")
    settings = tmp_path / "quick.toml"
    settings.write_text('folds = 3\nepochs = 1\nunfreeze = 1\npooling = "max"\n')
    command = ["train", "emotion", "--data", str(data), "--encoder", str(tmp_path / "w2v2")]
    command += ["--out", str(tmp_path / "out"), "--config", str(settings), "--json"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    rows = lines(done.stdout)
    assert [row["classifier"] for row in rows] == ["w2v2", "mean MFCC, linear"]
    assert rows[1]["accuracy"] == 1.0  # whoever is easily told apart
    assert {"uar", "f1", "male", "female"} <= set(rows[0])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows"] == rows
    assert np.array(report["confusion"]["w2v2"]).sum() == 6
    assert "cannot be trusted with" in (tmp_path / "out" / "CARD.md").read_text()
    engine = load_engine(ModelConfig(name=str(tmp_path / "out"), threads=1))
    assert engine.model.emotion is not None
    assert engine.model.emotion.labels == ("angry", "sad")
    assert engine.model.emotion.head.pooling == "max"


def test_a_head_on_a_whisper_that_the_daemon_puts_behind_its_finals(tmp_path: Path, tiny: Path) -> None:
    data = write_ravdess(tmp_path / "data", actors=3, takes=2)
    settings = tmp_path / "quick.toml"
    settings.write_text("folds = 3\n[frozen]\nepochs = 12\nbatch = 4\nwidth = 16\n")
    command = ["train", "emotion", "--data", str(data), "--encoder", str(tiny), "--json"]
    command += ["--config", str(settings), "--cache", str(tmp_path / "cache"), "--out"]
    done = CliRunner().invoke(main, [*command, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    rows = lines(done.stdout)
    assert [row["classifier"] for row in rows] == ["noise, frozen", "mean MFCC, linear"]
    assert {"uar", "f1", "male", "female"} <= set(rows[0])
    info = read_emotion_info(tmp_path / "out" / "emotion.toml")
    assert (info.emotion.labels, info.scores["uar"]) == (("angry", "sad"), rows[0]["uar"])
    assert "cannot be trusted with" in (tmp_path / "out" / "CARD.md").read_text()
    engine = load_engine(ModelConfig(name=str(tiny), emotion=str(tmp_path / "out"), threads=1))
    assert engine.model.emotion is not None
    again = CliRunner().invoke(main, [*command, str(tmp_path / "again")])
    assert lines(again.stdout) == rows
    first, second = (load_file(tmp_path / name / "emotion.safetensors") for name in ("out", "again"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_file_of_defaults_has_them() -> None:
    assert read_settings(EmotionConfig, config_dir() / "training" / "emotion.toml") == EmotionConfig()
