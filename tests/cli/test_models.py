"""``streamer models``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from streamer import hub
from streamer.cli import main
from streamer.encoders import load_encoder
from tests.cli.conftest import lines
from tests.nn.test_other_layouts import as_torchaudio, original


@pytest.fixture(autouse=True)
def _fetched(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model lies where fetched models do."""
    monkeypatch.setenv("STREAMER_MODELS", str(tiny.parent))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def test_the_list_has_what_is_here(tiny: Path) -> None:
    for arguments in (("--json",), ("list", "--json")):
        result = call(*arguments)
        assert result.exit_code == 0, result.output
        rows = {row["name"]: row for row in lines(result.stdout)}
        assert rows["noise"]["path"] == str(tiny)
        assert rows["noise"]["tags"] is True
        assert rows["noise"]["size"] > 1000
    assert any(line.startswith("noise ") and " MB" in line for line in call().stdout.splitlines())


def test_json_may_stand_before_the_subcommand() -> None:
    assert lines(call("--json", "list").stdout) == lines(call("list", "--json").stdout)


def test_info_shows_the_definition() -> None:
    (found,) = lines(call("info", "noise", "--json").stdout)
    assert found["description"] == "random weights"
    assert any(
        line.startswith("dims.n_mels") and line.endswith("80")
        for line in call("info", "noise").stdout.splitlines()
    )


def test_unknown_names_are_errors_with_what_there_is() -> None:
    for arguments in (("info", "nosuch"), ("pull", "nosuch")):
        result = call(*arguments)
        assert result.exit_code == 1
        assert "nosuch" in result.stderr or "whisper" in result.stderr
        assert result.stdout == ""


def test_what_is_fetched_is_prepared_for_this_machine(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STREAMER_ENGINE__BACKEND", "onnx")
    # The rest of a pull needs the network; tests/test_hub.py has a server for it.
    monkeypatch.setattr(hub, "pull", lambda *_, **__: hub.Pulled(tiny, None, "words only"))
    result = call("pull", "noise")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tiny}\n"
    assert list((tmp_path / "cache").rglob("encoder.onnx"))


def test_heads_are_listed_and_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.nn.test_head_checkpoint import whisper, write_head

    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    folder = tmp_path / "ears"
    write_head(folder, whisper())
    rows = {row["name"]: row for row in lines(call("--json").stdout)}
    assert (rows["ears"]["kind"], rows["ears"]["path"]) == ("head", str(folder))
    shown = call("info", "ears").stdout
    assert any(line.split() == ["head.head", "tl-tr"] for line in shown.splitlines())
    assert any(line.split() == ["encoder.name", "small"] for line in shown.splitlines())


def test_calibrate_finds_heads_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamer.nn.checkpoint import load
    from tests.cli.tiny import make_model, make_wav

    folder = make_model(tmp_path / "mine")
    before = load(folder).model.alignment_heads
    make_wav(tmp_path / "a.wav", 0.2, 1.0)
    row = {"path": "a.wav", "text": "ab cd", "words": [["ab", 0.2, 0.6], ["cd", 0.7, 1.1]]}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    tried = call("calibrate", str(folder), str(tmp_path), "--no-keep", "--json")
    assert tried.exit_code == 0, tried.output
    assert load(folder).model.alignment_heads == before
    (found,) = lines(tried.stdout)
    assert call("calibrate", str(folder), str(tmp_path)).exit_code == 0
    assert [list(head) for head in load(folder).model.alignment_heads] == found["heads"]


@pytest.mark.filterwarnings("ignore")
def test_another_layout_becomes_a_folder_that_runs(tmp_path: Path) -> None:
    tensors = original(tmp_path / "before", "ForCTC", False)
    torch.save(as_torchaudio(tensors), tmp_path / "bundle.pth")
    result = call("convert", str(tmp_path / "bundle.pth"), "--out", str(tmp_path / "after"), "--heads", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "after")
    assert "ETAONIHS" in result.stderr
    samples = np.zeros(8000, np.float32)
    states = [load_encoder(tmp_path / name).layers(samples).states for name in ("before", "after")]
    torch.testing.assert_close(*states)
    refused = call("convert", str(tmp_path / "bundle.pth"), "--out", str(tmp_path / "after"))
    assert refused.exit_code != 0
    assert "--heads" in refused.output
