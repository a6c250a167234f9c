"""A word model from text files and transcripts: what `streamer.asr.search` is guided by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from streamer.asr.ngram import WordModel
from streamer.errors import StreamerError
from streamer.training.bars import track
from streamer.training.corpus import normalise_text
from streamer.training.ngrams import NgramConfig, estimate

_ABBREVIATION = re.compile(r"\b(Mr|Mrs|Ms|Dr|St|Messrs|Capt|Gen|Col|Rev|Prof|Hon|Lieut|No)\.")
_END = re.compile(r"(?<=[.!?;:])[\"'”’)\]]*\s+")
_PARAGRAPHS = re.compile(r"\n\s*\n")


def sentences(text: str, letters: str = "") -> Iterable[str]:
    """Normalised sentences of running text.

    Paragraphs are what empty lines part; without any, every line stands for itself.
    """
    parts = _PARAGRAPHS.split(text)
    for part in parts if len(parts) > 1 else text.splitlines():
        for sentence in _END.split(_ABBREVIATION.sub(r"\1", part)):
            if words := normalise_text(sentence, letters):
                yield words


def learn_words(
    files: Mapping[Path, int],
    transcripts: Iterable[tuple[str, int]],
    config: NgramConfig,
    out: Path,
    letters: str = "",
    progress: bool = True,
) -> int:
    """Write a word model of text files and transcripts, each with a weight; returns how many words it has.

    Raises StreamerError naming a file that cannot be read.
    """
    texts = list(transcripts)
    for file, weight in track(list(files.items()), "reading", progress):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StreamerError(f"expected {file} to be a text in UTF-8: {error}") from error
        texts += [(sentence, weight) for sentence in sentences(text, letters)]
    model = WordModel.of(estimate(texts, config))
    scratch = out.with_suffix(".part")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    model.save(scratch)
    scratch.replace(out)
    return len(model.words)
