"""Words and sounds at once: what each does to the other, and what is heard of one where only the other is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamer.evaluation.tags_events import Matched
from streamer.evaluation.tags_heard import Heard
from streamer.evaluation.tags_scenes import Scene
from streamer.evaluation.texts import Errors, normaliser, word_errors

Listened = Sequence[tuple[Scene, Heard]]


@dataclass(frozen=True, slots=True)
class Overlap:
    """One ratio of speech to sound. Rates: shares of the same sounds found, and errors in the same words."""

    snr: float
    sounds: int
    found_alone: float
    found_under_speech: float
    words: int
    wer_alone: float
    wer_over_sounds: float


def overlaps(matched: Sequence[Matched], listened: Listened, language: str = "en") -> list[Overlap]:
    """For each ratio, what the mixtures' variants say. MissingExtraError without jiwer or openai-whisper."""
    snrs = sorted({s.snr for scene, _ in listened for s in scene.speech if s.snr is not None})
    if not snrs:
        return []
    normal = normaliser(language)
    alone = {one.scene.mixture: one for one in matched if one.scene.variant == "sounds"}
    both = {one.scene.mixture: one for one in matched if one.scene.variant == "both"}
    texts = {(scene.mixture, scene.variant): (scene, heard) for scene, heard in listened}
    out = []
    for snr in snrs:
        mixtures = [n for n, one in both.items() if any(s.speech_snr == snr for s in one.scene.sounds)]
        pairs = [
            (quiet is not None, under is not None)
            for n in mixtures
            if n in alone
            for (_, quiet), (_, under) in zip(alone[n].pairs, both[n].pairs, strict=True)
        ]
        errors = {
            name: sum((_errors(*texts[n, name], normal) for n in mixtures if (n, name) in texts), Errors())
            for name in ("speech", "both")
        }
        out.append(
            Overlap(
                snr,
                len(pairs),
                _share([quiet for quiet, _ in pairs]),
                _share([under for _, under in pairs]),
                errors["both"].length,
                errors["speech"].rate,
                errors["both"].rate,
            )
        )
    return out


def _errors(scene: Scene, heard: Heard, normal: Callable[[str], str]) -> Errors:
    """Of all that is said in a scene, in the order in which it is said."""
    said = " ".join(one.text for one in sorted(scene.speech, key=lambda one: one.onset))
    return word_errors(normal(said), normal(heard.text))


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else float("nan")


@dataclass(frozen=True, slots=True)
class Silence:
    """What was reported where there is nothing of the kind. `what`: each label or text, and how often."""

    seconds: float
    count: int
    what: Mapping[str, int]

    @property
    def per_hour(self) -> float:
        """So many an hour of audio."""
        return 3600 * self.count / self.seconds if self.seconds else float("nan")


def false_sounds(listened: Listened) -> Silence:
    """Sounds in streams of speech only."""
    labels = [sound.label for _, heard in listened for sound in heard.sounds]
    return _silence(listened, labels, len(labels))


def false_words(listened: Listened) -> Silence:
    """Words in streams of sounds only; `what` are the utterances' texts."""
    texts = [t for _, heard in listened for final in heard.finals if (t := final.text.strip())]
    return _silence(listened, texts, sum(len(text.split()) for text in texts))


def _silence(listened: Listened, what: Sequence[str], count: int) -> Silence:
    often = sorted({one: what.count(one) for one in what}.items(), key=lambda item: (-item[1], item[0]))
    return Silence(sum(scene.seconds for scene, _ in listened), count, dict(often))
