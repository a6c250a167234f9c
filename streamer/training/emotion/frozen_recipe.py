"""`streamer train emotion` on a Whisper: folds, the baseline beside them, the head's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamer.nn.definition import EmotionHeadInfo, EmotionInfo
from streamer.nn.emotion import LayersHead
from streamer.nn.emotion_checkpoint import save_emotion_head
from streamer.training import bars
from streamer.training.emotion.baseline import mfcc
from streamer.training.emotion.clips import Clip, read_clip, speaker_folds
from streamer.training.emotion.config import EmotionConfig
from streamer.training.emotion.frozen import Examples, clip_layers, examples, fit_head, predict_head
from streamer.training.emotion.recipe import Row, as_row, tested, write_report
from streamer.training.tags.encoders import FrozenEncoder


def train_frozen(
    clips: Sequence[Clip],
    encoder: FrozenEncoder,
    out: Path,
    cache: Path,
    config: EmotionConfig,
    progress: bool = True,
) -> list[Row]:
    """Cross-validate over speakers, then train the head in `out` with one fold to choose its epoch by.

    Every clip goes through the encoder once, ever. Returns the head's and the baseline's row. Raises
    StreamerError for what cannot be used.
    """
    config.checked()
    labels = sorted({clip.label for clip in clips})
    folds = speaker_folds(clips, config.folds, config.seed)
    paths = [clip.path for clip in clips]
    layers = dict(zip(paths, clip_layers(encoder, paths, config.longest, cache, progress), strict=True))
    means = {path: mfcc(read_clip(path, config.longest)) for path in bars.track(paths, "MFCC", progress)}

    def of(chosen: Sequence[Clip]) -> Examples:
        numbers = [labels.index(clip.label) for clip in chosen]
        return examples([layers[clip.path] for clip in chosen], numbers, config.pooling)

    def learnt(train: Sequence[Clip], choose: Sequence[Clip]) -> LayersHead:
        return fit_head(of(train), of(choose), len(labels), config, progress)

    def judge(_: int, train: Sequence[Clip], choose: Sequence[Clip], test: Sequence[Clip]) -> list[int]:
        return predict_head(learnt(train, choose), of(test))

    rows = tested(folds, labels, f"{encoder.info.name}, frozen", judge, means)
    head = learnt([clip for fold in folds[1:] for clip in fold], folds[0])
    figures = {name: value for name, value in as_row(rows[0]).items() if isinstance(value, float)}
    info = EmotionHeadInfo(
        name=out.name,
        description=f"{len(labels)} emotions, read from the encoder of {encoder.info.name}",
        licence="that of the recordings; see CARD.md",
        data=f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers",
        encoder=encoder.info,
        emotion=EmotionInfo.model_validate(
            {"labels": labels, "width": config.frozen.width, "pooling": config.pooling}
        ),
        scores=figures,
    )
    save_emotion_head(out, info, head)
    write_report(rows, labels, clips, config, out)
    return rows
