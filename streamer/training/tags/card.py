"""CARD.md of a head: what it hears, how well, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamer.nn.definition import HeadInfo
from streamer.training.tags.outcome import Outcome

FILE = "CARD.md"


def write_card(folder: Path, outcome: Outcome, info: HeadInfo) -> None:
    """Write it into the head's folder."""
    (folder / FILE).write_text("\n".join(_lines(outcome, info)) + "\n", encoding="utf-8")


def _lines(outcome: Outcome, info: HeadInfo) -> Iterator[str]:
    prepared, fit, windows = outcome.prepared, outcome.config.fit, outcome.config.windows
    yield f"# {info.name}: a sound head for the encoder of {info.encoder.name}"
    yield ""
    yield (
        f"It reads {info.encoder.n_layer} layers of {info.encoder.n_state} ({fit.head}, width "
        f"{fit.width or info.encoder.n_state}) and scores {len(prepared.labels)} labels. Only that encoder "
        "will do: the daemon compares its fingerprint."
    )
    yield ""
    yield f"`streamer run --model {info.encoder.name} --set model.tags={info.name}`"
    yield from _scores(outcome)
    yield from ["", "## Data", "", "| set | recordings | licence |", "|---|---|---|"]
    for (group, licence), count in sorted(prepared.dataset.licences.items()):
        yield f"| {_cell(group)} | {count} | {_cell(licence)} |"
    yield ""
    yield f"Left out, because they could not be read: {len(prepared.skipped)}."
    yield from ["", "## How it was made", ""]
    total = sum(map(len, prepared.features))
    yield (
        f"`streamer train tags`: {total} windows (each recording whole and in {windows.views} random views "
        f"of {', '.join(f'{n:g}' for n in sorted(set(windows.lengths)))} s), {outcome.fitted.epochs} epochs, "
        f"batches of {fit.draws.batch}, learning rate {fit.lr:g} ({fit.schedule}), mixup "
        f"{fit.draws.mixup:g}, time masks up to {fit.draws.time_mask:g}, label smoothing "
        f"{fit.draws.smoothing:g}, seed {fit.seed}."
    )
    for note in prepared.notes:
        yield f"- {note}"


def _scores(outcome: Outcome) -> Iterator[str]:
    yield from ["", "## Scores", ""]
    if not outcome.scores:
        yield "Nothing was held out, so nothing was measured; every threshold is 0.5."
        return
    yield "Per cent, on whole recordings that the head did not learn from:"
    yield from ["", "| measure | |", "|---|---|"]
    for name, value in outcome.scores.items():
        yield f"| {name} | {value} |"
    yield ""
    if outcome.folds is not None:
        yield (
            f"By cross-validation over {len(outcome.folds.curves)} folds; the head that ships learnt from "
            f"all of them. Thresholds are the lowest with a precision of {outcome.config.precision:g} on "
            "held-out windows; where none reaches it, the best by F0.5."
        )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
