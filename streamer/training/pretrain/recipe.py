"""`streamer train wav2vec2` and `streamer train wav2vec`: unlabelled audio to an encoder, and its curve."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from streamer.errors import StreamerError
from streamer.nn.hugging_face import CONFIG
from streamer.nn.wav2vec1 import Wav2Vec, is_wav2vec, load_wav2vec
from streamer.timebase import to_samples
from streamer.training.ctc.recipe import CURVE, REPORT, write_json, write_preprocessor
from streamer.training.panels import Panel, draw, series
from streamer.training.pretrain import wav2vec, wav2vec2
from streamer.training.pretrain.config import CommonConfig, Wav2Vec2Config, Wav2VecConfig
from streamer.training.pretrain.crops import Crops
from streamer.training.recordings import gather, split_off
from streamer.training.trainer import Pace, claim, evaluations, run

log = logging.getLogger(__name__)

Row = dict[str, float]


def train_wav2vec2(
    sources: Sequence[Path],
    encoder: Path | None,
    out: Path,
    work: Path,
    config: Wav2Vec2Config,
    report_to: Sequence[str] = (),
) -> Row:
    """Pretrain a wav2vec 2.0, from `config.sizes` or going on from a checkpoint, into the folder `out`.

    Goes on where an earlier run in the folder `work` stopped. Returns the last evaluation. Raises
    StreamerError for what cannot be used.
    """
    train, judge = _crops(sources, work, config)
    claim(work, {"command": "wav2vec2", "encoder": str(encoder), "config": dataclasses.asdict(config)})
    if encoder is None:
        network, normalise = wav2vec2.new_network(config.sizes, config.dropout), config.normalise
    else:
        network, normalise = wav2vec2.network_of(encoder, config.dropout)
    model = wav2vec2.Pretrainer(network, normalise, config.task)
    rows = _run(
        model,
        config,
        work,
        (train, judge),
        (wav2vec2.Collate(config.task), wav2vec2.measure, ("mask",)),
        report_to,
        [_cooling(model, config)],
    )
    curve = evaluations(rows, *wav2vec2.MEASURES)
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).unlink(missing_ok=True)
    network.save_pretrained(out)
    write_preprocessor(out, normalise)
    _report(out, "wav2vec 2.0", config, curve, train)
    similar = {
        "hidden frames to their codes": series(curve, "target_similarity"),
        "to other codes": series(curve, "random_similarity"),
    }
    chance = 1 / (1 + config.task.distractors)
    panels = [
        Panel("loss", {"": series(curve, "loss")}),
        Panel("right choices", {"right": series(curve, "accuracy")}, chance),
        Panel("cosine similarity", similar),
        Panel("codes in use", {"": series(curve, "perplexity")}),
    ]
    draw(panels, out / CURVE)
    last = curve[-1]
    if last["accuracy"] < 3 * chance or last["target_similarity"] < last["random_similarity"] + 0.1:
        log.warning(
            "hidden frames are hardly more like their own codes (%.2f) than like others (%.2f), and %.1f %% "
            "of the choices are right where guessing gives %.1f %%: train longer, or on more",
            *(last["target_similarity"], last["random_similarity"], 100 * last["accuracy"], 100 * chance),
        )
    return last


def train_wav2vec(
    sources: Sequence[Path],
    encoder: Path | None,
    out: Path,
    work: Path,
    config: Wav2VecConfig,
    report_to: Sequence[str] = (),
) -> Row:
    """Pretrain a wav2vec (v1), new or going on from a checkpoint, into the file `out`.

    Goes on where an earlier run in the folder `work` stopped; the curve is left there. Returns the last
    evaluation. Raises StreamerError for what cannot be used.
    """
    if encoder is not None and not (encoder.is_file() and is_wav2vec(encoder)):
        raise StreamerError(f"--encoder: expected a fairseq checkpoint of wav2vec (.pt), found {encoder}")
    train, judge = _crops(sources, work, config)
    claim(work, {"command": "wav2vec", "encoder": str(encoder), "config": dataclasses.asdict(config)})
    features = load_wav2vec(encoder) if encoder else Wav2Vec(wav2vec.dims_of(config.width, config.large))
    model = wav2vec.Predictor(features, config.task)
    rows = _run(
        model,
        config,
        work,
        (train, judge),
        (wav2vec.Collate(config.task), wav2vec.measure, ("others",)),
        report_to,
    )
    curve = evaluations(rows, *wav2vec.MEASURES)
    wav2vec.save(model, out)
    _report(work, "wav2vec", config, curve, train)
    scores = {"frames that come": series(curve, "target_score"), "others": series(curve, "random_score")}
    panels = [
        Panel("loss, a prediction", {"": series(curve, "contrastive")}),
        Panel("right choices", {"right": series(curve, "accuracy")}, 1 / (1 + config.task.distractors)),
        Panel("scores", scores),
    ]
    draw(panels, work / CURVE)
    return curve[-1]


def _crops(sources: Sequence[Path], work: Path, config: CommonConfig) -> tuple[Crops, Crops]:
    """Pieces to learn from, and to measure on."""
    config.check()
    found = gather(sources, work / "audio")
    long = [one for one in found if len(one) >= to_samples(config.shortest)]
    if len(long) < len(found):
        log.warning("left out %d recordings shorter than %g s", len(found) - len(long), config.shortest)
    if not long:
        raise StreamerError(
            f"expected recordings of {config.shortest:g} s or more, found {len(found)} shorter ones"
        )
    train, judge, _ = split_off(long, config.held_out, config.seed)
    crops = Crops(train, config.crop)
    judged = Crops(judge, config.crop, fixed=True)
    judged.places = judged.places[:: max(1, len(judged.places) // config.judged)][: config.judged]
    log.info("%d pieces (%.1f h) to learn from, %d to measure on", len(crops), crops.hours, len(judged))
    return crops, judged


def _run(
    model: nn.Module,
    config: CommonConfig,
    work: Path,
    data: tuple[Crops, Crops],
    how: tuple[Any, Any, tuple[str, ...]],
    report_to: Sequence[str],
    callbacks: Sequence[Any] = (),
) -> list[Row]:
    collate, measure, labels = how
    return run(
        model,
        Pace.of(config),
        work,
        *data,
        collate,
        measure,
        report_to=report_to,
        callbacks=callbacks,
        label="Pretraining",
        labels=labels,
    )


def _cooling(model: wav2vec2.Pretrainer, config: Wav2Vec2Config) -> Any:
    """Has codes drawn at the temperature of each step, also in a run that goes on."""
    from transformers import TrainerCallback

    class Cools(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            model.temperature = config.task.gumbel(state.global_step / config.steps)

    return Cools()


def _report(
    folder: Path, what: str, config: CommonConfig, curve: Sequence[Mapping[str, float]], train: Crops
) -> None:
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    about = {"what": what, "hours": round(train.hours, 2), "config": settings, "curve": list(curve)}
    write_json(folder / REPORT, about)
