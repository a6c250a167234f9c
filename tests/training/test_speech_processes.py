"""Training in several processes at once, as `accelerate launch` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from streamer.training.speech import SpeechTrainer
from tests.training.corpora import speech_pack
from tests.training.launched import CONFIG, batches
from tests.training.test_speech import model

pytestmark = pytest.mark.slow  # three Pythons import torch

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 2


def launch(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": PROCESSES,
        "LOCAL_WORLD_SIZE": PROCESSES,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
        "ACCELERATE_USE_CPU": "true",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.launched", str(folder)],
            cwd=ROOT,
            env={
                **os.environ,
                **{k: str(v) for k, v in shared.items()},
                "RANK": str(i),
                "LOCAL_RANK": str(i),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    try:
        for process in running:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in running:
            process.kill()
            process.wait()


def alone(folder: Path) -> SpeechTrainer:
    """What the processes do together, by one that takes the batches of a step one after the other."""
    one = SpeechTrainer(model(), batches(folder), CONFIG, folder / "alone")
    one.model.train()
    while one.step < CONFIG.steps:
        one._wrap()
        for i in range(PROCESSES):
            with torch.autocast("cpu", torch.bfloat16):
                ctc, attention = one.model(
                    one.batches.batch(one.step * PROCESSES + i), CONFIG.label_smoothing
                )
            loss = CONFIG.ctc_weight * ctc + (1 - CONFIG.ctc_weight) * attention
            (loss / PROCESSES).backward()
        for group, rate in zip(one.optimiser.param_groups, one._rate(), strict=True):
            group["lr"] = rate
        nn.utils.clip_grad_norm_(one.model.parameters(), 1.0)
        one.optimiser.step()
        one.optimiser.zero_grad()
        one.step += 1
    return one


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    speech_pack(folder, 4)
    launch(folder)
    return folder


def test_processes_end_with_the_same_weights(trained: Path) -> None:
    first, second = (torch.load(trained / f"{i}.pt", weights_only=True) for i in range(PROCESSES))
    for part in ("model", "average"):
        for name, tensor in first[part].items():
            assert torch.equal(second[part][name], tensor), name


def test_they_learn_from_the_mean_of_their_gradients(trained: Path) -> None:
    together = torch.load(trained / "0.pt", weights_only=True)["model"]
    start = model().state_dict()
    for name, tensor in alone(trained).model.state_dict().items():
        moved = float((tensor - start[name]).norm())
        assert float((together[name] - tensor).norm()) <= 0.05 * moved, name


def test_one_of_them_writes(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, CONFIG.steps + 1))
    drawn = batches(trained)
    for i, row in enumerate(rows):
        shares = [drawn.batch(i * PROCESSES + rank).seconds for rank in range(PROCESSES)]
        assert row["audio"] == pytest.approx(sum(shares), abs=0.01)
    saved = torch.load(trained / "run" / "checkpoint.pt", weights_only=True)
    ended = torch.load(trained / "0.pt", weights_only=True)
    assert saved["step"] == CONFIG.steps
    assert all(torch.equal(tensor, ended["model"][name]) for name, tensor in saved["model"].items())
