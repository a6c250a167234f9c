"""``streamer bench engine``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.evaluation.engine_cost import FINAL
from tests.cli.conftest import lines

QUICK = ("--context", "1", "--precision", "fp32", "--repeat", "1")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "engine", *arguments])


def test_a_table_json_and_a_picture(tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "costs.png"
    result = call("--model", str(tiny), *QUICK, "--tokens", "2", "--json", "--picture", str(picture))
    assert result.exit_code == 0, result.output
    rows = lines(result.stdout)
    assert (rows[0]["part"], rows[0]["ratio"], rows[0]["speech"]) == (FINAL, 1, 1)
    assert picture.stat().st_size > 1000
    shown = call("--model", str(tiny), *QUICK).stdout.splitlines()
    assert len(shown) == 1 + len(rows)
    assert f"{FINAL}, with tags" in shown[1]


def test_what_cannot_compute_here_is_told_before_anything_is_measured(tiny: Path) -> None:
    result = call("--model", str(tiny), *QUICK, "--precision", "fp16")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'fp16', which is for GPUs" in result.stderr
    if not torch.cuda.is_available():
        result = call("--model", str(tiny), *QUICK, "--device", "cuda")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "model.device is 'cuda', but PyTorch" in result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
def test_with_a_gpu_its_rows_come_first(tiny: Path) -> None:
    rows = lines(call("--model", str(tiny), *QUICK, "--device", "cuda", "--json").stdout)
    assert (rows[0]["part"], rows[0]["precision"], rows[0]["ratio"]) == (FINAL, "fp32, cuda", 1)
    assert any(row["precision"].startswith("int8") for row in rows)


def test_wrong_names_are_told_before_anything_is_measured() -> None:
    for arguments in (("--dims", "tinny"), ("--model", "bundeld"), ("--peer", "whisper")):
        result = call(*QUICK, *arguments)
        assert result.exit_code in (1, 2)
        assert result.stdout == ""
        assert "tiny" in result.stderr or "bundled" in result.stderr or "openai-whisper" in result.stderr
