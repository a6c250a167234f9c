"""The distance, the loss, and a training that goes on as if nothing had been."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamer.training.context.config import Draws
from streamer.training.context.distil import LABEL, Distiller, Spread, apart, collate, measure
from streamer.training.context.pieces import Known, Lessons, Teacher, draw_pieces
from streamer.training.context.told import Scribe
from streamer.training.trainer import Pace, evaluations, run
from tests.tiny import tiny_tokenizer
from tests.training.context.recordings import stock, utterances

pytestmark = pytest.mark.filterwarnings("ignore")

DRAWS = Draws(longest=2.0, full=0.0)
PACE = Pace(steps=6, batch=2, rate=1e-3, warmup=0.0, every=2, seed=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("distil")
    pieces = draw_pieces(utterances(folder), 4, DRAWS, seed=0)
    return Teacher(stock().model.encoder, pieces, folder, bf16=False).prepare("", progress=False)


@pytest.fixture(scope="module")
def spread(teacher: Teacher) -> Spread:
    return Spread.of(teacher.known(i) for i in range(4))


def lessons(teacher: Teacher, count: int, draws: Draws = DRAWS) -> Lessons:
    return Lessons(teacher, count, draws, 80, seed=2)


def test_a_distance_is_a_share_of_each_channels_variance() -> None:
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 300.0, 0.01])
    known = Known(scale * torch.randn(400, 3) + 5, scale * torch.randn(2, 400, 3))
    spread = Spread.of([known])
    assert apart(known, known, spread).tolist() == [0, 0, 0]
    mean = Known(known.states.mean(0).expand(400, 3), known.layers.mean(1, keepdim=True).expand(2, 400, 3))
    torch.testing.assert_close(apart(mean, known, spread), torch.ones(3), rtol=0.01, atol=0)
    nudged = Known(known.states + scale * 0.1, known.layers)
    assert apart(nudged, known, spread)[0] == pytest.approx(0.01, rel=0.2)
    nothing = Known(known.states[:3], known.layers[:, :0])  # shorter than a token
    assert apart(nothing, nothing, spread).tolist() == [0, 0, 0]


def test_in_its_full_context_a_student_knows_everything(teacher: Teacher, spread: Spread) -> None:
    model = Distiller(stock().model.encoder, spread, 1.0)
    whole = lessons(teacher, 2, replace(DRAWS, full=1.0))
    with torch.no_grad():
        known = model(**collate([whole[0], whole[1]]))
        cut = model(**collate([lessons(teacher, 2)[i] for i in range(2)]))
    assert known["loss"] < 1e-4
    assert cut["loss"] > 100 * known["loss"]
    assert cut["apart"].shape == (2, 4)
    told = measure(type("Found", (), {"predictions": cut["apart"].numpy()}))
    assert told["states"] + told["layers"] == pytest.approx(float(cut["loss"]), rel=1e-5)
    assert told["text"] == 0  # there is no decoder to ask


def test_a_decoder_has_a_say(tmp_path: Path, teacher: Teacher, spread: Spread) -> None:
    model = stock("attention")
    scribe = Scribe(model.model, tiny_tokenizer(), "en")
    pieces = teacher.pieces[:2]
    written = Teacher(model.model.encoder, pieces, tmp_path, bf16=False, scribe=scribe).prepare("", False)
    assert written.known(0).told is not None
    distiller = Distiller(model.model.encoder, spread, 0.0, scribe, text=3.0)
    batch = collate([lessons(written, 2)[i] for i in range(2)])
    found = distiller(**batch)
    states, text = found["apart"][:, 0].mean(), found["apart"][:, 1].mean()
    assert text > 0
    torch.testing.assert_close(found["loss"].detach(), states + 3 * text)
    before = float(text)
    optimiser = torch.optim.Adam(distiller.parameters(), 1e-3)
    for _ in range(8):
        optimiser.zero_grad()
        found = distiller(**batch)
        found["loss"].backward()
        optimiser.step()
    assert found["apart"][:, 1].mean() < 0.8 * before
    assert all(name.startswith("student.") for name in distiller.state_dict())


def test_lessons_of_a_batch_do_not_touch(teacher: Teacher, spread: Spread) -> None:
    """Whether their contexts are the same or not."""
    model = Distiller(stock().model.encoder, spread, 0.5)
    several = [lessons(teacher, 6)[i] for i in range(6)]
    lengths = [one.mel.shape[1] for one in several]
    assert 1 < len(set(lengths)) < len(lengths)
    with torch.no_grad():
        together = model(**collate(several))["apart"]
        alone = torch.cat([model(**collate([one]))["apart"] for one in several])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)


class KilledError(Exception):
    pass


def fit(
    teacher: Teacher, spread: Spread, work: Path, **more: Any
) -> tuple[Distiller, list[dict[str, float]]]:
    model = Distiller(stock().model.encoder, spread, 1.0)
    train, judged = lessons(teacher, PACE.steps * PACE.batch), lessons(teacher, 4)
    rows = run(model, PACE, work, train, judged, collate, measure, labels=(LABEL,), **more)
    return model, rows


def test_it_learns_and_what_was_killed_goes_on_to_the_same_end(
    tmp_path: Path, teacher: Teacher, spread: Spread
) -> None:
    from transformers import TrainerCallback

    class Kills(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 5:
                raise KilledError

    whole, rows = fit(teacher, spread, tmp_path / "whole")
    curve = evaluations(rows, "states", "layers", "loss")
    assert [row["step"] for row in curve] == [2, 4, 6]
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    with pytest.raises(KilledError):
        fit(teacher, spread, tmp_path / "killed", callbacks=[Kills()])
    again, more = fit(teacher, spread, tmp_path / "killed")
    assert evaluations(more, "states") == evaluations(rows, "states")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
