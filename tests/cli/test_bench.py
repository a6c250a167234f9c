"""``streamer bench``."""

from __future__ import annotations

import torch
from click.testing import CliRunner, Result

from streamer.cli import main
from tests.cli.conftest import lines

QUICK = ("--encoder", "tiny", "--context", "0.8", "--head", "tl-tr", "--repeat", "1", "--precision", "fp32")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "heads", *arguments])


def test_heads_are_measured_beside_their_encoder() -> None:
    threads = torch.get_num_threads()
    result = call(*QUICK, "--json")
    assert result.exit_code == 0, result.output
    rows = lines(result.stdout)
    assert [(row["part"], row["width"]) for row in rows] == [
        ("encoder", None),
        ("pooling", None),
        ("tl-tr", None),
        ("tl-tr", 128),
    ]
    assert torch.get_num_threads() == threads
    shown = call(*QUICK).stdout.splitlines()
    assert len(shown) == 1 + len(rows)
    assert shown[3].split()[:5] == ["tiny", "0.8", "s", "tl-tr", "3.752"]


def test_wrong_names_are_told_before_anything_is_measured() -> None:
    for arguments in (("--encoder", "tinny"), (*QUICK, "--head", "tltr")):
        result = call(*arguments)
        assert result.exit_code in (1, 2)
        assert "Did you mean" in result.stderr
        assert result.stdout == ""
