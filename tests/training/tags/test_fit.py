from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.errors import ConfigError, StreamerError
from streamer.nn.heads import HEADS, Head
from streamer.training.tags.draws import DrawConfig
from streamer.training.tags.features import Features
from streamer.training.tags.fit import CHECKPOINT, CURVE, HeadFit, TagConfig, fit_identity, scores
from tests.training.tags.tools import LABELS, two_classes

DRAWS = DrawConfig(batch=16)
CONFIG = TagConfig(width=16, epochs=30, lr=3e-3, precision="fp32", draws=DRAWS)
SHORT = replace(CONFIG, epochs=4, save_every=0.0)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit(config: TagConfig = CONFIG, features: Features | None = None, **more: object) -> Head:
    return HeadFit([features or two_classes()], config, **more).run().head  # type: ignore[arg-type]


def same(one: Head, other: Head) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_separates_what_differs(kind: str) -> None:
    unseen = two_classes(seed=1)
    got = scores(fit(replace(CONFIG, head=kind, lr=1e-2)), unseen)
    assert got.shape == (60, len(LABELS))
    dogs = unseen.targets[:, 0]
    assert ((got[:, 0] > got[:, 1]) == dogs).all()
    assert got[dogs, 0].min() > 0.5 > got[~dogs, 0].max()


@pytest.mark.parametrize("width", [0, 8])
def test_width_is_the_heads(width: int) -> None:
    head = fit(replace(SHORT, width=width))
    assert head.width == (width or None)
    assert not any(p.requires_grad for p in head.parameters())


def test_fitting_is_a_function_of_the_seed() -> None:
    one, again, other = (fit(replace(SHORT, seed=seed)) for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


def test_fits_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(SHORT)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fold_left_out_is_not_learnt_from() -> None:
    """Windows of the fold that contradict all others change nothing."""
    plain, poisoned = two_classes(), two_classes()
    poisoned.values[poisoned.fold == 3] *= -5
    assert same(fit(SHORT, plain, leave={3}), fit(SHORT, poisoned, leave={3}))
    assert not same(fit(SHORT, plain), fit(SHORT, poisoned))


class Killed(BaseException):
    pass


SETTINGS = {
    "plain": SHORT,
    "averaged": replace(SHORT, average_from=0.25),
    "early": replace(SHORT, patience=2, epochs=6),
    "steps": replace(SHORT, schedule="steps", decay_from=1, decay_every=1),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_killed_at_any_step_it_ends_with_the_same_weights(tmp_path: Path, name: str) -> None:
    config, look = SETTINGS[name], [two_classes(20, seed=2)]
    whole = HeadFit([two_classes()], config, {1}, look).run()
    for at in (1, 4, 6):

        def die(now: HeadFit, at: int = at) -> None:
            if now.step == at:
                raise Killed

        folder = tmp_path / f"{name}{at}"
        with pytest.raises(Killed):
            HeadFit([two_classes()], config, {1}, look, folder).run(die)
        resumed = HeadFit([two_classes()], config, {1}, look, folder)
        assert resumed.step == at
        got = resumed.run()
        assert same(got.head, whole.head)
        assert got.curve == whole.curve
        assert got.epochs == whole.epochs


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.tags.test_fit import SHORT, two_classes
from streamer.training.tags.fit import HeadFit

def die(now):
    if now.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

HeadFit([two_classes()], SHORT, folder=Path(sys.argv[1])).run(die)
"""


def test_a_real_kill_too(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=root, env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = HeadFit([two_classes()], SHORT, folder=tmp_path)
    assert resumed.step == 5
    assert same(resumed.run().head, fit(SHORT))


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    one = fit(SHORT, folder=tmp_path)
    steps: list[int] = []
    again = HeadFit([two_classes()], SHORT, folder=tmp_path).run(lambda now: steps.append(now.step))
    assert steps == []
    assert same(one, again.head)


def test_a_checkpoint_of_another_fit_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(SHORT, folder=tmp_path)
    assert HeadFit([two_classes()], replace(SHORT, lr=1e-4), folder=tmp_path).step == 0
    assert "another fit" in caplog.text
    (tmp_path / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(StreamerError, match=r"fit\.pt.*Delete it to start anew"):
        HeadFit([two_classes()], SHORT, folder=tmp_path)


def test_identity_leaves_out_what_changes_nothing() -> None:
    assert fit_identity(SHORT, "x") == fit_identity(replace(SHORT, save_every=9.0), "x")
    assert fit_identity(SHORT, "x") != fit_identity(SHORT, "y")
    assert fit_identity(SHORT, "x") != fit_identity(replace(SHORT, epochs=9), "x")


def test_the_curve_has_a_row_an_epoch(tmp_path: Path) -> None:
    fitted = HeadFit([two_classes()], CONFIG, {1}, [two_classes(20, seed=2)], tmp_path).run()
    rows = [json.loads(line) for line in (tmp_path / CURVE).read_text().splitlines()]
    assert rows == fitted.curve
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert rows[-1]["validation_map"] == 1.0


def test_looking_on_changes_nothing_but_with_patience() -> None:
    look = [two_classes(20, seed=2)]
    assert same(fit(SHORT, validation=look), fit(SHORT))
    patient = HeadFit([two_classes()], replace(CONFIG, patience=3), (), look).run()
    assert patient.epochs + 3 == len(patient.curve) < 30
    best = max(row["validation_map"] for row in patient.curve)
    assert patient.curve[patient.epochs - 1]["validation_map"] == best
    # What is returned are that epoch's weights, not the last ones.
    last: dict[int, list[torch.Tensor]] = {}

    def keep(now: HeadFit) -> None:
        last[now.step] = [p.detach().clone() for p in now.head.parameters()]

    again = HeadFit([two_classes()], replace(CONFIG, patience=3), (), look)
    head = again.run(keep).head
    wanted = last[patient.epochs * again.per_epoch]
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), wanted, strict=True))


def test_averaged_weights_are_the_mean_of_the_last_epochs() -> None:
    config = replace(SHORT, epochs=6, average_from=0.5)
    ends = []
    run = HeadFit([two_classes()], config)

    def keep(now: HeadFit) -> None:
        if now.step % now.per_epoch == 0:
            ends.append([p.detach().clone() for p in now.head.parameters()])

    head = run.run(keep).head
    for parameter, *three in zip(head.parameters(), *ends[3:], strict=True):
        torch.testing.assert_close(parameter, sum(three) / 3)


def test_rates_rise_and_fall() -> None:
    one = HeadFit([two_classes()], replace(CONFIG, warmup=0.2))
    rates = [one.rate(step) for step in range(one.steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(CONFIG.lr, rel=0.01)
    assert top == pytest.approx(0.2 * one.steps, abs=1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < CONFIG.lr / 100

    published = replace(CONFIG, schedule="steps", warmup=0.0, decay=0.5, decay_from=3, decay_every=2)
    steps = HeadFit([two_classes()], published)
    epochs = [steps.rate(epoch * steps.per_epoch) / CONFIG.lr for epoch in range(8)]
    assert epochs == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "tl-tl"}, r"head: expected one of last-mlp.*found 'tl-tl'"),
        ({"schedule": "cosine"}, "schedule: expected one of one-cycle, steps"),
        ({"betas": (0.9,)}, "betas: expected two numbers, found 1"),
        ({"epochs": 0}, "at least one epoch"),
        ({"draws": replace(DRAWS, mixup_targets="all")}, r"draws\.mixup_targets: expected one of share"),
        ({"trackers": ("nowhere",)}, "nowhere"),
    ],
)
def test_mistakes_are_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(StreamerError, match=message):
        HeadFit([two_classes()], replace(CONFIG, **change))  # type: ignore[arg-type]


def test_nothing_to_learn_from_is_told() -> None:
    with pytest.raises(StreamerError, match="expected windows to learn from"):
        HeadFit([two_classes()], CONFIG, set(range(6)))
    assert issubclass(ConfigError, StreamerError)


def test_scores_do_not_depend_on_the_batch() -> None:
    head = fit(SHORT)
    np.testing.assert_allclose(scores(head, two_classes()), scores(head, two_classes(), batch=7), atol=1e-6)
