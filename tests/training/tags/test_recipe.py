from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.engine import Engine, Request
from streamer.errors import StreamerError
from streamer.nn.checkpoint import load
from streamer.nn.head_checkpoint import load_head
from streamer.timebase import TOKEN
from streamer.training.tags.config import TagsConfig
from streamer.training.tags.draws import DrawConfig
from streamer.training.tags.fit import HeadFit, TagConfig
from streamer.training.tags.recipe import TagsRecipe, group_name
from streamer.training.tags.replay import read_replay
from streamer.training.tags.windows import WindowConfig
from tests.cli.tiny import make_model
from tests.tiny import tiny_tokenizer
from tests.training.corpora import noise, tone, write_wav

CONFIG = TagsConfig(
    encoder_precision="fp32",
    replay=20,
    windows=WindowConfig(views=1, lengths=(1.6,), talk=0, empty=4),
    fit=TagConfig(width=16, epochs=3, lr=1e-2, precision="fp32", draws=DrawConfig(batch=8)),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a table with several labels, folds, a test split, and everything that can be wrong."""
    root = tmp_path_factory.mktemp("recipe")
    make_model(root / "model")
    rows = []
    for i in range(4):
        write_wav(root / "data" / f"dog{i}.wav", tone(1.7, 300 + 30 * i))
        write_wav(root / "data" / f"rain{i}.wav", noise(1.7, i))
        write_wav(root / "data" / f"both{i}.wav", tone(1.7, 300 + 30 * i) + noise(1.7, i))
        fold = {"fold": 1 + i % 2}
        rows += [
            {"path": f"dog{i}.wav", "labels": "/m/0bt9lr", "licence": "CC0", **fold},
            {"path": f"rain{i}.wav", "labels": "Rain", **fold},
            {"path": f"both{i}.wav", "labels": ["Rain", "Dog"], **fold},
        ]
    write_wav(root / "data" / "gate.wav", tone(1.7, 900))
    write_wav(root / "data" / "last.wav", tone(1.7, 310))
    (root / "data" / "broken.wav").write_bytes(b"nonsense")
    rows += [
        {"path": "gate.wav", "label": "our gate", "fold": 1},
        {"path": "last.wav", "label": "Dog", "split": "test"},
        {"path": "missing.wav", "label": "Dog", "fold": 1},
        {"path": "broken.wav", "label": "Dog", "fold": 1},
        {"path": "broken.wav", "label": "Siren", "fold": 2},
        {"path": "nowhere.wav", "label": "Bell", "fold": 2},
    ]
    (root / "data" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def recipe(place: Path, out: Path, config: TagsConfig = CONFIG) -> TagsRecipe:
    return TagsRecipe(
        [place / "data"],
        place / "model",
        out / "mine",
        config,
        work=out / "work",
        cache=out / "cache",
        progress=False,
    )


@pytest.fixture(scope="module")
def made(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TagsRecipe, object]:
    out = tmp_path_factory.mktemp("out")
    one = recipe(place, out)
    return one, one.run()


def test_a_head_comes_out_that_the_daemon_loads(place: Path, made: tuple[TagsRecipe, object]) -> None:
    one, _ = made
    head = load_head(one.out)
    assert [label.name for label in head.labels] == ["Dog", "our gate", "Rain"]
    assert [bool(label.id) for label in head.labels] == [True, False, True]
    assert set(head.info.scores) == {"data_map", "test_map", "test_accuracy"}
    assert "CC0" in head.info.licence
    assert head.info.tags.window == 1.6
    model = load(place / "model", one.out)
    result = Engine(model, tiny_tokenizer()).run([Request(noise(1.6)[: 4 * TOKEN], windows=((0, 4),))])
    assert result[0].scores.shape == (1, 3)


def test_everything_that_was_wrong_is_told(made: tuple[TagsRecipe, object]) -> None:
    _, outcome = made
    prepared = outcome.prepared  # type: ignore[attr-defined]
    told = " ".join(f"{one.where} {one.why}" for one in prepared.skipped)
    for name in ("missing.wav", "broken.wav", "nowhere.wav"):
        assert name in told
    notes = " ".join(prepared.notes)
    assert "'Siren' is left out: none of its recordings can be read" in notes
    assert "'Bell' is left out: none of its recordings can be used" in notes
    assert "'our gate' is not among AudioSet's labels" in notes


def test_test_recordings_are_scored_and_not_learnt_from(made: tuple[TagsRecipe, object]) -> None:
    one, outcome = made
    (clip,) = outcome.test.clips  # type: ignore[attr-defined]
    clips = one.read().clips
    assert clips[clip].path.endswith("last.wav")
    assert clip not in outcome.folds.clips.clips  # type: ignore[attr-defined]
    # 14 recordings of 13 in folds: 12 in two folds and the gate.
    assert len(outcome.folds.clips.clips) == 13  # type: ignore[attr-defined]


def test_the_head_remembers_some_windows(made: tuple[TagsRecipe, object]) -> None:
    one, _ = made
    replay = read_replay(one.out, load_head(one.out).head)
    assert replay is not None
    assert len(replay.inputs) == 20


def test_card_report_and_curves_are_there(made: tuple[TagsRecipe, object]) -> None:
    one, outcome = made
    card = (one.out / "CARD.md").read_text()
    assert "| data | 4 | CC0 |" in card
    assert f"| data_map | {outcome.scores['data_map']} |" in card  # type: ignore[attr-defined]
    assert "`streamer run --model noise --set model.tags=mine`" in card
    assert (one.work / "report.html").stat().st_size > 2000
    assert (one.work / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_second_time_the_encoder_hears_nothing_and_nothing_is_fitted(
    place: Path, made: tuple[TagsRecipe, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, outcome = made
    before = {name: t.clone() for name, t in load_head(one.out).head.state_dict().items()}
    monkeypatch.setattr(HeadFit, "_learn", lambda self: pytest.fail("learnt again"))
    again = recipe(place, one.out.parent).run()
    assert outcome.passes > 0  # type: ignore[attr-defined]
    assert again.passes == 0
    after = load_head(one.out).head.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


class Killed(BaseException):
    pass


def test_killed_in_any_stage_the_same_call_ends_with_the_same_head(
    place: Path, made: tuple[TagsRecipe, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamer.training.tags import features

    config = replace(CONFIG, parallel=1, fit=replace(CONFIG.fit, save_every=0.0))
    encoded, learnt = 0, 0
    encode, learn = features._encode, HeadFit._learn

    def dying_encode(*arguments: object) -> None:
        nonlocal encoded
        encoded += 1
        if encoded == 2:
            raise Killed
        encode(*arguments)  # type: ignore[arg-type]

    def dying_learn(self: HeadFit) -> float:
        nonlocal learnt
        learnt += 1
        if learnt in (3, 9, 20):
            raise Killed
        return learn(self)

    monkeypatch.setattr(features, "_encode", dying_encode)
    monkeypatch.setattr(HeadFit, "_learn", dying_learn)
    kills = 0
    while True:
        try:
            recipe(place, tmp_path, config).run()
            break
        except Killed:
            kills += 1
    assert kills >= 3
    one, _ = made
    wanted, got = load_head(one.out), load_head(tmp_path / "mine")
    assert wanted.thresholds == got.thresholds
    assert wanted.info.scores == got.info.scores
    for name, tensor in wanted.head.state_dict().items():
        torch.testing.assert_close(got.head.state_dict()[name], tensor, rtol=0, atol=2e-3)


def test_without_folds_nothing_is_measured(place: Path, tmp_path: Path) -> None:
    outcome = recipe(place, tmp_path, replace(CONFIG, folds=0)).run()
    assert outcome.folds is None
    assert set(outcome.thresholds) == {0.5}
    assert set(outcome.scores) == {"test_map", "test_accuracy"}


def test_folds_are_drawn_where_the_data_has_none(place: Path, tmp_path: Path) -> None:
    for i in range(4):
        write_wav(tmp_path / "data" / "Dog" / f"{i}.wav", tone(1.7, 300 + i))
        write_wav(tmp_path / "data" / "Rain" / f"{i}.wav", noise(1.7, i))
    one = TagsRecipe(
        [tmp_path / "data"],
        place / "model",
        tmp_path / "o",
        replace(CONFIG, folds=2),
        work=tmp_path,
        cache=tmp_path,
    )
    data = one.read()
    assert sorted(clip.fold for clip in data.clips) == [1] * 4 + [2] * 4
    assert any("drawn at random" in note for note in data.notes)


def test_data_without_a_label_is_refused(place: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "background" / "a.wav", noise(1.7))
    one = recipe(place, tmp_path)
    one.data = [tmp_path / "data"]
    with pytest.raises(StreamerError, match="expected recordings with labels, found none"):
        one.run()


def test_patience_trains_the_head_as_long_as_its_folds(place: Path, tmp_path: Path) -> None:
    config = replace(
        CONFIG, encoder_name="base", fit=replace(CONFIG.fit, patience=1, epochs=8, head="last-mlp")
    )
    outcome = recipe(place, tmp_path, config).run()
    assert outcome.folds is not None
    assert len(outcome.fitted.curve) == round(float(np.median(outcome.folds.epochs)))
    assert load_head(tmp_path / "mine").info.encoder.name == "base"


@pytest.mark.parametrize(
    ("name", "key"), [("ESC-50 (part)", "esc_50_part"), ("esc10", "esc10"), ("…", "data")]
)
def test_sets_are_keys_of_scores(name: str, key: str) -> None:
    assert group_name(name) == key
