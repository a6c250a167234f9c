"""``streamer features``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from streamer.audio.decode import decode_file
from streamer.cli import main
from streamer.encoders import load_encoder
from tests.cli.tiny import make_wav
from tests.tiny_speech import save_speech

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return make_wav(tmp_path / "a.wav", 0.2, 0.61)


def test_all_layers_of_a_whisper_and_a_broken_file(tiny: Path, wav: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing of the kind")
    out = tmp_path / "x.npz"
    options = ["--encoder", str(tiny), "--layer", "all", "--out", str(out), "--json"]
    done = CliRunner().invoke(main, ["features", str(wav), str(bad), *options])
    assert done.exit_code == 1
    assert "bad.wav" in done.stderr
    assert json.loads(done.stdout) == {"name": "a.wav", "shape": "2 × 41 × 64"}
    content = np.load(out)
    expected = load_encoder(tiny).layers(decode_file(wav)).layers[0].numpy()
    np.testing.assert_allclose(content["a.wav"], expected, atol=1e-5)
    about = json.loads(str(content["__about__"]))
    assert about == {"encoder": "noise", "layer": "all", "pool": "none", "frames_per_second": "50"}


@pytest.mark.parametrize(("pool", "shape"), [("mean", (32,)), ("20", (2, 32)), ("none", (40, 32))])
def test_one_layer_of_wav2vec2_pooled(wav: Path, tmp_path: Path, pool: str, shape: tuple[int, ...]) -> None:
    save_speech(tmp_path / "w2v2")
    out = tmp_path / "x.safetensors"
    options = ["--encoder", str(tmp_path / "w2v2"), "--layer", "1", "--pool", pool, "--out", str(out)]
    done = CliRunner().invoke(main, ["features", str(wav), *options])
    assert done.exit_code == 0, done.output
    with safe_open(out, "np") as content:
        assert content.get_tensor("a.wav").shape == shape
        assert content.metadata()["pool"] == pool


def test_two_files_of_one_name_and_mistakes(tiny: Path, wav: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    twin = make_wav(tmp_path / "b" / "a.wav", 0.3)
    out = tmp_path / "x.npz"
    command = ["features", str(wav), str(twin), "--encoder", str(tiny), "--pool", "mean", "--out"]
    assert CliRunner().invoke(main, [*command, str(out)]).exit_code == 0
    assert set(np.load(out)) == {str(wav), str(twin), "__about__"}
    for wrong, message in (
        ([*command, "x.txt"], "ending in .npz or .safetensors"),
        ([*command, str(tmp_path / "no" / "x.npz")], "expected a folder"),
        ([*command, str(out), "--layer", "3"], "a number from 1 to 2"),
        ([*command, str(out), "--pool", "0"], "none, mean or a number"),
    ):
        done = CliRunner().invoke(main, wrong)
        assert done.exit_code == 2
        assert message in " ".join(done.output.split())
