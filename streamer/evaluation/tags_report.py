"""Everything that was measured of a model's sounds, as JSON for machines and as rows of tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamer.evaluation.tags_events import EventScores, LabelEvents, spread
from streamer.evaluation.tags_metrics import TagScores
from streamer.evaluation.tags_psds import PsdsScore
from streamer.evaluation.tags_words import Overlap, Silence

Row = dict[str, Any]

UNKNOWN = (
    "A model does not say which recordings its head was trained on: only --split, --fold and --speech-split "
    "can keep figures from being flattered by them."
)


@dataclass(slots=True)
class TagsReport:
    """What was measured; None, or nothing, of what was not asked for. `events`, `psds`: by variant."""

    about: dict[str, Any]
    clips: TagScores | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    """Recordings of labels that the model does not know."""
    events: dict[str, EventScores] = field(default_factory=dict)
    psds: dict[str, dict[str, PsdsScore]] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)
    speech_only: Silence | None = None
    sounds_only: Silence | None = None


def as_json(report: TagsReport) -> Row:
    """Plain values; what is not a number, or infinite, is null."""
    out: Row = {"about": {**report.about, "training_clips": UNKNOWN}, "left_out": report.left_out}
    if report.clips is not None:
        out["clips"] = asdict(report.clips)
    if report.events:
        out["events"] = {name: _events(scores) for name, scores in report.events.items()}
        out["psds"] = {
            variant: {name: asdict(score) for name, score in scores.items()}
            for variant, scores in report.psds.items()
        }
    if report.overlaps:
        out["speech_over_sounds"] = [asdict(one) for one in report.overlaps]
    for name in ("speech_only", "sounds_only"):
        if (silence := getattr(report, name)) is not None:
            out[name] = {**asdict(silence), "per_hour": silence.per_hour}
    cleaned: Row = _clean(out)
    return cleaned


def _events(scores: EventScores) -> Row:
    out = asdict(scores)
    median, p90 = scores.onset_error
    return out | {
        "found_rate": scores.found_rate,
        "false_per_hour": scores.false_per_hour,
        "onset_error_median": median,
        "onset_error_p90": p90,
        "onset_bias": spread(scores.onset_errors)[0],
        "offset_error_median": spread(map(abs, scores.offset_errors))[0],
        "delay_median": spread(scores.delays)[0],
    }


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --------------------------------------------------------------------------------------- tables


def tables(report: TagsReport) -> list[tuple[str, list[Row]]]:
    """Titles and rows, in the order in which they are worth reading."""
    out: list[tuple[str, list[Row]]] = []
    if report.clips is not None:
        out.append(("Recordings", [_clip_row(report.clips)]))
        out.append(("Recordings, by label", _label_rows(report.clips)))
    if report.events:
        rows = [_event_row(variant, scores) for variant, scores in report.events.items()]
        for row in rows:
            row |= {name: share(s.value) for name, s in report.psds.get(row["scenes"], {}).items()}
        out.append(("Events", rows))
        out.append(("Events, onsets within a collar", _collar_rows(report.events)))
        out.append(("Events, by label", _label_events(report.events)))
    if report.overlaps:
        out.append(("Speech over sounds", [_overlap_row(one) for one in report.overlaps]))
    silences = [
        _silence_row("speech only", "sounds", report.speech_only),
        _silence_row("sounds only", "words", report.sounds_only),
    ]
    if found := [row for row in silences if row]:
        out.append(("One without the other", found))
    return out


def share(value: float) -> str:
    """Per cent with a digit behind the point; a dash for what is not a number."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float, form: str = ".2f") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"


def _clip_row(scores: TagScores) -> Row:
    return {
        "recordings": scores.clips,
        "labels": sum(row.count > 0 for row in scores.labels),
        "mAP": share(scores.mean_ap),
        "AUC": share(scores.auc),
        "d'": _number(scores.d_prime),
        "top 1": share(scores.top1),
        "top 3": share(scores.top3),
    }


def _label_rows(scores: TagScores) -> list[Row]:
    return [
        {"label": row.label, "recordings": row.count, "AP": share(row.ap), "AUC": share(row.auc)}
        for row in sorted(scores.labels, key=lambda row: (-row.ap, row.label))
        if row.count
    ]


def _event_row(variant: str, scores: EventScores) -> Row:
    median, p90 = scores.onset_error
    return {
        "scenes": variant,
        "minutes": f"{scores.seconds / 60:.1f}",
        "events": scores.count,
        "found": share(scores.found_rate),
        "onset error": _number(median),
        "90 %": _number(p90),
        "bias": _number(spread(scores.onset_errors)[0], "+.2f"),
        "told after": _number(spread(scores.delays)[0]),
        "duplicates": scores.duplicates,
        "false/h": _number(scores.false_per_hour, ".1f"),
    }


def _collar_rows(events: Mapping[str, EventScores]) -> list[Row]:
    return [
        {
            "scenes": variant,
            "collar": f"{collar.collar:g} s",
            "precision": share(collar.precision),
            "recall": share(collar.recall),
            "F1": share(collar.f1),
            "macro F1": share(collar.macro_f1),
        }
        for variant, scores in events.items()
        for collar in scores.collars
    ]


def _label_events(events: Mapping[str, EventScores]) -> list[Row]:
    labels = sorted({row.label for scores in events.values() for row in scores.labels})
    rows: list[Row] = []
    for label in labels:
        row: Row = {"label": label}
        for variant, scores in events.items():
            one = next((one for one in scores.labels if one.label == label), None)
            row |= _of_variant(variant, one, scores.count > 0)
        rows.append(row)
    return rows


def _of_variant(variant: str, one: LabelEvents | None, is_there: bool) -> Row:
    """Found of how many, with `+` false ones and `x` duplicates; the onset only where there is any sound."""
    if one is None:
        cells = {variant: "-", f"{variant} onset": "-"}
    else:
        extra = "".join(f" {sign}{n}" for sign, n in (("+", one.false), ("x", one.duplicates)) if n)
        cells = {variant: f"{one.found}/{one.count}{extra}", f"{variant} onset": _number(one.onset_error)}
    return cells if is_there else {variant: cells[variant]}


def _overlap_row(one: Overlap) -> Row:
    return {
        "speech/sound": f"{one.snr:g} dB",
        "sounds": one.sounds,
        "found alone": share(one.found_alone),
        "found under speech": share(one.found_under_speech),
        "words": one.words,
        "WER alone": _number(one.wer_alone, ".1f"),
        "WER over sounds": _number(one.wer_over_sounds, ".1f"),
    }


def _silence_row(stream: str, what: str, silence: Silence | None) -> Row:
    if silence is None:
        return {}
    often: Sequence[str] = [f"{name} {count}" for name, count in list(silence.what.items())[:5]]
    return {
        "stream": stream,
        "minutes": f"{silence.seconds / 60:.1f}",
        "reported": f"{silence.count} {what}",
        "an hour": _number(silence.per_hour, ".1f"),
        "most often": ", ".join(often),
    }
