"""Hugging Face's Trainer as our commands use it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamer.errors import StreamerError
from streamer.training.ctc.fit import CtcConfig
from streamer.training.pretrain.config import Wav2VecConfig
from streamer.training.trainer import Pace, claim, evaluations, last_whole, run

pytestmark = pytest.mark.filterwarnings("ignore")

PACE = Pace(steps=6, batch=2, rate=0.1, warmup=0.0, every=2, seed=1)


class Line(torch.nn.Module):
    """y = w x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.w * x - y).square().mean(), "told": self.w * x}


def collate(rows: Sequence[float]) -> dict[str, torch.Tensor]:
    x = torch.tensor(list(rows))
    return {"x": x, "y": 2 * x}


def measure(found: Any) -> dict[str, float]:
    return {"error": float(abs(found.predictions - found.label_ids).mean())}


def fit(work: Path, pace: Pace = PACE, model: Line | None = None, **more: Any) -> tuple[float, list[Any]]:
    model = model or Line()
    rows = run(model, pace, work, [1.0, 2.0, 3.0, 4.0], [1.0, 2.0], collate, measure, labels=("y",), **more)
    return float(model.w), rows


def test_the_curve_has_every_evaluation_also_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "streamer"):
        _, rows = fit(tmp_path, replace(PACE, steps=5))
    curve = evaluations(rows, "error", "loss")
    assert [row["step"] for row in curve] == [2, 4, 5]
    assert curve[-1]["error"] < curve[0]["error"]
    told = [record.getMessage() for record in caplog.records if record.name == "streamer.training.trainer"]
    assert [line.split(":")[0] for line in told] == ["step 2 of 5", "step 4 of 5", "step 5 of 5"]
    assert f"error {curve[0]['error']:.4g}" in told[0]


class KilledError(Exception):
    pass


def test_what_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    from transformers import TrainerCallback

    class Kills(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 5:
                raise KilledError

    whole, rows = fit(tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", callbacks=[Kills()])
    broken = tmp_path / "killed" / "checkpoint-5"  # as a kill in the middle of saving leaves it
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    assert last_whole(tmp_path / "killed") == str(tmp_path / "killed" / "checkpoint-4")
    again, more = fit(tmp_path / "killed")
    assert again == pytest.approx(whole)
    before, after = ([row["error"] for row in evaluations(log, "error")] for log in (rows, more))
    assert after == pytest.approx(before)


def test_the_best_is_kept_or_the_last(tmp_path: Path) -> None:
    mad = replace(PACE, rate=3.0, every=1)
    last, rows = fit(tmp_path / "last", mad)
    best, _ = fit(tmp_path / "best", replace(mad, best=("error", False)))
    errors = [row["error"] for row in evaluations(rows, "error")]
    assert abs(last - 2) * 1.5 == pytest.approx(errors[-1], rel=1e-3)
    assert abs(best - 2) * 1.5 == pytest.approx(min(errors), rel=1e-3)


def test_nothing_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    assert capsys.readouterr().out == ""


def test_no_other_training_goes_on_in_a_folder(tmp_path: Path) -> None:
    claim(tmp_path, {"rate": 1, "sizes": (1, 2)})
    claim(tmp_path, {"rate": 2, "sizes": (1, 2)})  # nothing has been learnt yet
    fit(tmp_path)
    claim(tmp_path, {"rate": 2, "sizes": (1, 2)})
    with pytest.raises(StreamerError, match="found another rate, more"):
        claim(tmp_path, {"rate": 3, "sizes": (1, 2), "more": 1})


def test_a_pace_is_what_settings_say_under_its_names() -> None:
    ctc = CtcConfig(steps=7, rate=0.5, bf16=True)
    assert Pace.of(ctc, best=("cer", False)) == Pace(
        steps=7,
        batch=ctc.batch,
        rate=0.5,
        warmup=ctc.warmup,
        every=ctc.every,
        seed=0,
        bf16=True,
        best=("cer", False),
    )
    assert Pace.of(Wav2VecConfig(weight_decay=0.25)).weight_decay == 0.25
