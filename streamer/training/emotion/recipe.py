"""`streamer train emotion`: folds, the baseline beside them, the checkpoint, and what is said of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from streamer.errors import StreamerError
from streamer.nn.hugging_face import CONFIG, read_json
from streamer.nn.speech_checkpoint import FAMILIES, PREPROCESSOR, is_speech
from streamer.timebase import SAMPLE_RATE
from streamer.training import bars
from streamer.training.emotion.baseline import classify, mfcc
from streamer.training.emotion.clips import Clip, read_clip, speaker_folds
from streamer.training.emotion.config import EmotionConfig
from streamer.training.emotion.fit import EmotionModel, Example, fit, predict
from streamer.training.emotion.measures import Measures, measure

REPORT = "report.json"
CARD = "CARD.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One classifier's measures over all test folds together."""

    name: str
    measures: Measures


def train_emotion(
    clips: Sequence[Clip],
    encoder: Path,
    out: Path,
    work: Path,
    config: EmotionConfig,
    report_to: Sequence[str] = (),
) -> list[Row]:
    """Cross-validate over speakers, then train the checkpoint in `out` with one fold to choose its epoch by.

    Returns the encoder's and the baseline's row. Raises StreamerError for what cannot be used.
    """
    config.checked()
    if not is_speech(encoder):
        raise StreamerError(
            f"--encoder: expected a folder with a wav2vec 2.0, HuBERT or WavLM ({CONFIG}), found {encoder}"
        )
    labels = sorted({clip.label for clip in clips})
    folds = speaker_folds(clips, config.folds, config.seed)
    heard = {clip.path: read_clip(clip.path, config.longest) for clip in bars.track(clips, "Reading")}

    def learnt(name: str, train: Sequence[Clip], choose: Sequence[Clip]) -> tuple[EmotionModel, Any]:
        return fit(encoder, examples(train), examples(choose), len(labels), config, work / name, report_to)

    def examples(chosen: Sequence[Clip]) -> list[Example]:
        return [Example(heard[clip.path], labels.index(clip.label)) for clip in chosen]

    def judge(number: int, train: Sequence[Clip], choose: Sequence[Clip], test: Sequence[Clip]) -> list[int]:
        return predict(learnt(f"fold-{number}", train, choose)[1], examples(test))

    means = {path: mfcc(samples) for path, samples in heard.items()}
    rows = tested(folds, labels, encoder.name, judge, means)
    model, _ = learnt("final", [clip for fold in folds[1:] for clip in fold], folds[0])
    _save(model, encoder, labels, out, config)
    write_report(rows, labels, clips, config, out)
    return rows


Judge = Callable[[int, Sequence[Clip], Sequence[Clip], Sequence[Clip]], list[int]]
"""(number of the fold, clips to learn from, to choose by, to judge) -> labels of the last."""


def tested(
    folds: Sequence[Sequence[Clip]],
    labels: Sequence[str],
    name: str,
    judge: Judge,
    means: Mapping[Path, NDArray[np.float32]],
) -> list[Row]:
    """Each fold judged by who has not heard it, and by a linear classifier on `means`, each clip's MFCCs."""
    told: list[int] = []
    plain: list[int] = []
    for i, test in enumerate(folds):
        choose = folds[(i + 1) % len(folds)]
        rest = [clip for fold in folds if fold is not test and fold is not choose for clip in fold]
        told += judge(i + 1, rest, choose, test)
        known = [*rest, *choose]
        plain += classify(
            np.stack([means[clip.path] for clip in known]),
            [labels.index(clip.label) for clip in known],
            np.stack([means[clip.path] for clip in test]),
            len(labels),
        )
    every = [clip for fold in folds for clip in fold]
    truth, genders = [labels.index(clip.label) for clip in every], [clip.gender for clip in every]
    return [
        Row(row, measure(truth, guesses, len(labels), genders))
        for row, guesses in ((name, told), ("mean MFCC, linear", plain))
    ]


def _save(
    model: EmotionModel, encoder: Path, labels: Sequence[str], out: Path, config: EmotionConfig
) -> None:
    """In soxan's layout, as `load_speech` reads it."""
    about: dict[str, Any] = dict(read_json(encoder / CONFIG))
    family = about["model_type"]
    tensors: dict[str, Tensor] = {f"{family}.{n}": t for n, t in model.encoder.body.state_dict().items()}
    tensors |= {f"classifier.{n}": t for n, t in model.head.state_dict().items()}
    about |= {
        "architectures": [f"{FAMILIES[family]}ForSpeechClassification"],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "pooling_mode": config.pooling,
        "problem_type": "single_label_classification",
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).unlink(missing_ok=True)  # comes last: a folder without it is no model
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)
    _write(out / PREPROCESSOR, {"do_normalize": model.encoder.normalise, "sampling_rate": SAMPLE_RATE})
    _write(out / CONFIG, about)


def as_row(row: Row) -> dict[str, Any]:
    """A row of the table: rounded, accuracy by gender beside it."""
    found = row.measures
    main = {"accuracy": found.accuracy, "uar": found.uar, "f1": found.f1} | found.by_gender
    return {"classifier": row.name} | {name: round(value, 3) for name, value in main.items()}


def write_report(
    rows: Sequence[Row], labels: Sequence[str], clips: Sequence[Clip], config: EmotionConfig, out: Path
) -> None:
    """`report.json` with everything, and a card that says what it came to and what it cannot be used for."""
    confusions = {row.name: row.measures.confusion.tolist() for row in rows}
    table = [as_row(row) for row in rows]
    _write(out / REPORT, {"labels": labels, "rows": table, "confusion": confusions})
    columns = list(table[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in table]
    speakers = len({clip.speaker for clip in clips})
    text = f"""# What this checkpoint is

It judges which of {len(labels)} labels ({", ".join(labels)}) an utterance sounds like, learnt from
{len(clips)} clips of {speakers} speakers. Measured in {config.folds} folds that share no speaker:

{chr(10).join(lines)}

`uar` is the average recall of the labels, `f1` their average F1. Columns by gender are accuracies.

# What it cannot be trusted with

It tells how a voice sounds to those who labelled its data, most of which is usually acted. It does not know
what anybody feels. Other speakers, languages, rooms and microphones, spontaneous speech, illness and old age
all change its answers. Nothing about a person may be decided by it: not at work, at school, at a border, in
medicine, in insurance or in court; in many places that is forbidden, too.
"""
    (out / CARD).write_text(text, encoding="utf-8")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
