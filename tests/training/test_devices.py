from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from streamer.errors import MissingExtraError, StreamerError
from streamer.training.devices import accelerator


def test_one_process_is_alone_and_writes(tmp_path: Path) -> None:
    one = accelerator(tmp_path)
    assert (one.num_processes, one.process_index) == (1, 0)
    assert one.is_main_process
    assert one.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_launch_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that know nothing of each other would write over each other's files."""
    accelerator(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StreamerError, match=r"expected 2 processes that train together .* found 1"):
        accelerator(tmp_path)


def test_unknown_and_missing_trackers_are_named(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match=r"speech\.trackers: .*tensorboard.*, found 'tensorbord'"):
        accelerator(tmp_path, ["tensorbord"])
    from accelerate.tracking import get_available_trackers

    missing = {"aim", "swanlab", "dvclive"} - {str(one) for one in get_available_trackers()}
    for name in missing:
        with pytest.raises(StreamerError, match=f"package of '{name}' is not installed"):
            accelerator(tmp_path, [name])


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"streamer\[train\]"):
        accelerator(tmp_path)


def test_a_tracker_gets_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    one = accelerator(tmp_path, ["tensorboard"])
    one.init_trackers("streamer", {"steps": 2})
    one.log({"ctc": 1.0}, 1)
    one.end_training()
    assert list(tmp_path.rglob("events.out.*"))
