"""``streamer eval probe``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from tests.nn.test_wav2vec1 import SMALL, checkpoint
from tests.tiny_speech import save_speech
from tests.training.corpora import write_teacher
from tests.training.emotion.voices import write_ravdess

pytestmark = pytest.mark.filterwarnings("ignore")


def probe(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["eval", "probe", "--data", str(data), "--folds", "3", *arguments])


def test_every_family_in_one_table_and_picture(tmp_path: Path, tiny: Path) -> None:
    data = write_ravdess(tmp_path / "data", actors=3, takes=1)
    write_teacher(tmp_path / "whisper-x" / "encoder.safetensors")
    save_speech(tmp_path / "hubert", "hubert", "Model")
    checkpoint(tmp_path / "old.pt", SMALL)
    places = [tiny, tmp_path / "whisper-x" / "encoder.safetensors", tmp_path / "hubert", tmp_path / "old.pt"]
    options = [text for place in places for text in ("--encoder", str(place))]
    options += ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "all.json")]
    pytest.importorskip("matplotlib")
    done = probe(data, *options, "--picture", str(tmp_path / "depth.png"))
    assert done.exit_code == 0, done.output
    assert "6 clips of 2 labels in 3 folds, by speaker" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["encoder", "size"]
    assert [line.split()[0] for line in lines[1:]] == ["noise", "whisper-x", "hubert", "old", "mean"]
    assert "3 × 64" in lines[1]
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "all.json").read_text())
    assert content["folds"] == {"count": 3, "how": "by speaker"}
    *encoders, baseline = content["encoders"]
    for row in encoders:
        assert sum(row["layer_weights"]) == pytest.approx(1, abs=1e-3)
        best = max(row["layers"], key=lambda layer: layer["uar"])
        assert row["best_layer"] == best["layer"]
        assert {"accuracy", "uar", "f1", "male", "female"} <= set(row["weighted_sum"])
    assert [layer["layer"] for layer in encoders[0]["layers"]] == [0, 1, 2]
    assert [layer["layer"] for layer in encoders[3]["layers"]] == [1, 2]
    assert baseline["weighted_sum"]["accuracy"] == 1.0  # whoever is easily told apart
    again = probe(data, *options)
    assert again.stdout == done.stdout


def test_mistakes(tmp_path: Path, tiny: Path) -> None:
    data = write_ravdess(tmp_path / "data", actors=3, takes=1)
    (tmp_path / "wrong.toml").write_text("fold = 3\n")
    for options, status, message in (
        (["--encoder", "nowhere"], 1, "no model 'nowhere'"),
        (["--encoder", str(tiny), "--recipe", str(tmp_path / "wrong.toml")], 2, "Did you mean 'folds'"),
        (["--encoder", str(tiny), "--folds", "4"], 1, "expected 4 speakers or more"),
    ):
        done = probe(data, *options, "--cache", str(tmp_path / "cache"))
        assert done.exit_code == status
        assert message in " ".join(done.output.split())
