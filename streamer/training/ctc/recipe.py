"""`streamer train ctc`: utterances, letters, the fit, the checkpoint, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from streamer.errors import StreamerError
from streamer.nn.hugging_face import CONFIG
from streamer.nn.speech import SpeechEncoder, frames_of
from streamer.nn.speech_checkpoint import PREPROCESSOR, LoadedSpeech, is_speech, load_speech
from streamer.timebase import SAMPLE_RATE
from streamer.training import bars
from streamer.training.ctc.fit import TENTH, CtcConfig, CtcModel, Example, collate, error_rates, make_model
from streamer.training.ctc.vocabulary import (
    FILES,
    Vocabulary,
    build,
    check_spelling,
    frames_needed,
    spell,
    take_over,
)
from streamer.training.panels import Panel, draw, series
from streamer.training.recordings import Utterance, gather, split_off
from streamer.training.trainer import Pace, claim, evaluations, run

log = logging.getLogger(__name__)

REPORT, CURVE, LEFT_OUT = "report.json", "curve.png", "left-out.txt"
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Score:
    """Error rates in per cent over the utterances of a split."""

    split: str
    utterances: int
    wer: float
    cer: float


def train_ctc(
    sources: Sequence[Path],
    encoder: Path,
    out: Path,
    work: Path,
    config: CtcConfig,
    report_to: Sequence[str] = (),
) -> list[Score]:
    """Fine-tune `encoder` on the transcribed utterances of `sources`, into a checkpoint in the folder `out`.

    Goes on where an earlier run in the folder `work` stopped. Returns the error rates of the best weights on
    what they were chosen by, and on the split `test` where there is one. Raises StreamerError for what
    cannot be used.
    """
    config.checked()
    if not is_speech(encoder):
        raise StreamerError(
            f"--encoder: expected a folder with a wav2vec 2.0, HuBERT or WavLM ({CONFIG}), found {encoder}"
        )
    spoken = _transcribed(gather(sources, work / "audio"), sources)
    loaded = load_speech(encoder)
    vocabulary = _vocabulary(spoken, encoder, loaded, config, work / "vocabulary")
    texts = [spell(one.text or "", vocabulary.case, config.drop) for one in spoken]
    check_spelling(zip((one.name for one in spoken), texts, strict=True), vocabulary)
    usable = _usable(spoken, texts, vocabulary, config, work)
    splits = split_off([one.utterance for one in usable], config.held_out, config.seed)
    examples = {id(one.utterance): one for one in usable}
    train, choose, test = ([examples[id(one)] for one in part] for part in splits)
    log.info("%d utterances to learn from, %d to choose by, %d to test", len(train), len(choose), len(test))
    claim(work, _about(config, vocabulary, encoder, train))
    model = make_model(encoder, loaded, vocabulary, config)
    rows = run(
        model,
        Pace.of(config, best=("cer", False)),
        work,
        train,
        choose,
        partial(collate, whole=TENTH),
        lambda found: error_rates(found.predictions, found.label_ids, vocabulary),
        report_to=report_to,
        labels=("labels",),
    )
    scores = [
        _score(model, vocabulary, part, name, config)
        for name, part in (("valid", choose), ("test", test))
        if part
    ]
    _save(model, work / "vocabulary", out)
    curve = evaluations(rows, "wer", "cer", "loss")
    content = {
        "encoder": encoder.name,
        "letters": "".join(vocabulary.letters.pieces),
        "config": dataclasses.asdict(config),
        "minutes": round(sum(one.utterance.seconds for one in train) / 60, 1),
        "scores": [dataclasses.asdict(one) for one in scores],
        "curve": curve,
    }
    write_json(out / REPORT, content)
    rates = {name.upper(): series(curve, name) for name in ("wer", "cer")}
    draw(
        [Panel("error rates, %", rates), Panel("CTC loss, a letter", {"": series(curve, "loss")})],
        out / CURVE,
    )
    return scores


def _transcribed(utterances: Sequence[Utterance], sources: Sequence[Path]) -> list[Utterance]:
    spoken = [one for one in utterances if one.text and one.text.strip()]
    if not spoken:
        raise StreamerError(
            f"expected transcripts of the {len(utterances)} recordings in {', '.join(map(str, sources))}, "
            "found none. Say what is said in a column 'text' of a CSV, in manifest.jsonl, or in a "
            ".txt beside each recording"
        )
    if len(spoken) < len(utterances):
        log.info("%d recordings have no transcript and are left out", len(utterances) - len(spoken))
    return spoken


def _vocabulary(
    spoken: Sequence[Utterance],
    encoder: Path,
    loaded: LoadedSpeech[SpeechEncoder],
    config: CtcConfig,
    folder: Path,
) -> Vocabulary:
    if config.vocabulary == "build" or (config.vocabulary == "auto" and loaded.letters is None):
        return build([one.text or "" for one in spoken], config.case, config.drop, folder)
    if loaded.letters is None:
        raise StreamerError(
            f"--vocabulary keep: expected a checkpoint with a CTC head, found none in {encoder}. "
            "Use --vocabulary build"
        )
    return take_over(encoder, loaded.letters.outputs, config.case, folder)


def _usable(
    spoken: Sequence[Utterance],
    texts: Sequence[str],
    vocabulary: Vocabulary,
    config: CtcConfig,
    work: Path,
) -> list[Example]:
    """Those that CTC can learn from; the others are listed in the log and in a file of `work`."""
    usable: list[Example] = []
    reasons: list[str] = []
    for one, text in zip(spoken, texts, strict=True):
        ids = vocabulary.encode(text)
        if not ids:
            reasons.append(f"{one.name}: nothing of {one.text!r} can be written")
        elif one.seconds > config.longest:
            reasons.append(f"{one.name}: {one.seconds:.1f} s, longer than {config.longest:g} s")
        elif frames_of(len(one)) < frames_needed(ids):
            reasons.append(
                f"{one.name}: its {frames_of(len(one))} frames are fewer than the {frames_needed(ids)} that "
                "CTC needs for its transcript"
            )
        else:
            usable.append(Example(one, tuple(ids)))
    for reason in reasons[:_LISTED]:
        log.warning("left out %s", reason)
    if reasons:
        (work / LEFT_OUT).write_text("\n".join(reasons) + "\n", encoding="utf-8")
        log.warning("left out %d of %d utterances, see %s", len(reasons), len(spoken), work / LEFT_OUT)
    if not usable:
        raise StreamerError(
            f"expected utterances that CTC can learn from, found none of {len(spoken)} usable"
        )
    return usable


def _about(
    config: CtcConfig, vocabulary: Vocabulary, encoder: Path, train: Sequence[Example]
) -> dict[str, Any]:
    """What must not change between a run and the one that goes on with it."""
    return {
        "command": "ctc",
        "encoder": str(encoder.resolve()),
        "letters": list(vocabulary.letters.pieces),
        "utterances": len(train),
        "config": dataclasses.asdict(config),
    }


def _score(
    model: CtcModel, vocabulary: Vocabulary, part: Sequence[Example], split: str, config: CtcConfig
) -> Score:
    """Every utterance as the checkpoint's user would have it: alone or in a batch is the same."""
    model.eval()
    best, labels = [], []
    device = next(model.parameters()).device
    starts = range(0, len(part), config.batch)
    for start in bars.track(starts, f"Scoring {split}"):
        batch = {name: one.to(device) for name, one in collate(part[start : start + config.batch]).items()}
        with torch.inference_mode():
            best += [row.cpu() for row in model(batch["samples"], batch["lengths"])["best"]]
        labels += [row.cpu() for row in batch["labels"]]
    fill = torch.nn.utils.rnn.pad_sequence
    told, truth = (fill(rows, batch_first=True, padding_value=-100) for rows in (best, labels))
    rates = error_rates(told.numpy(), truth.numpy(), vocabulary)
    return Score(split, len(part), round(rates["wer"], 2), round(rates["cer"], 2))


def _save(model: CtcModel, vocabulary: Path, out: Path) -> None:
    """In Hugging Face's layout, as `load_speech` and transformers read it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).unlink(missing_ok=True)
    model.network.save_pretrained(out)
    for name in FILES:
        (out / name).unlink(missing_ok=True)
        if (vocabulary / name).is_file():
            shutil.copyfile(vocabulary / name, out / name)
    write_preprocessor(out, model.encoder.normalise)


def write_preprocessor(out: Path, normalise: bool) -> None:
    """What a checkpoint's audio has to look like, as transformers' feature extractor reads it."""
    about = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "padding_value": 0.0}
    about |= {"do_normalize": normalise, "sampling_rate": SAMPLE_RATE, "return_attention_mask": normalise}
    write_json(out / PREPROCESSOR, about)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented, for people read it too."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
