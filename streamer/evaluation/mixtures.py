"""Mixtures whose truth is known, because they are made here: background, events, and speech over them.

Every draw comes from a seed and the mixture's number, so one mixture is the same whatever others are made.
Each is written in three variants that differ in nothing else: `sounds` (background and events), `speech`
(background and words) and `both`. What speech does to the sounds, and sounds to the words, is then
a difference between files of one recipe.

Levels: an event has its stated ratio to the background below it, speech its stated ratio to the event that
it covers, all as mean powers over the whole of each. The sum is scaled down where it would clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.evaluation.tags_config import MixtureConfig
from streamer.evaluation.tags_scenes import Scene, TrueSound, TrueSpeech
from streamer.timebase import SAMPLE_RATE

Audio = NDArray[np.float32]

FRAME = SAMPLE_RATE // 50
"""Samples over which loudness is judged: 20 ms."""

FADE = SAMPLE_RATE // 200
"""Samples over which a cut event fades in and out, so that the cut is no click: 5 ms."""

CEILING = 0.9
"""Peak of a mixture that would be louder."""

FAINT = 1e-8
"""Power below which a background counts as this much, or no event could be heard over digital silence."""

VARIANTS = ("sounds", "speech", "both")


@dataclass(frozen=True, slots=True)
class Recording:
    """What mixtures are made of. `load` gives (n,) float32 at 16 kHz.

    labels: model's names; the first is what it is, the others are true of it too. text: what is said in it.
    A recording without either is background; `ignored` are labels that a background may truly hold.
    """

    key: str
    load: Callable[[], Audio]
    labels: tuple[str, ...] = ()
    text: str = ""
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Recordings to draw from, sorted by what they are; sounds by their first label."""

    sounds: Mapping[str, tuple[Recording, ...]]
    speech: tuple[Recording, ...]
    backgrounds: tuple[Recording, ...]

    @classmethod
    def of(cls, recordings: Sequence[Recording]) -> Sources:
        """Sort recordings into sounds, speech, and backgrounds."""
        sounds: dict[str, list[Recording]] = {}
        for one in recordings:
            if one.labels:
                sounds.setdefault(one.labels[0], []).append(one)
        return cls(
            {label: tuple(sounds[label]) for label in sorted(sounds)},
            tuple(one for one in recordings if one.text and not one.labels),
            tuple(one for one in recordings if not one.text and not one.labels),
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """Three layers of one length, (n,) float32 each, and the truth about all of them."""

    background: Audio
    sounds: Audio
    speech: Audio
    truth: Scene

    def variant(self, name: str) -> tuple[Audio, Scene]:
        """The samples and the truth of one of VARIANTS."""
        with_sounds, with_speech = name != "speech", name != "sounds"
        samples = self.background + with_sounds * self.sounds + with_speech * self.speech
        sounds = self.truth.sounds if with_sounds else ()
        if not with_speech:
            sounds = tuple(replace(one, speech_snr=None) for one in sounds)
        speech = self.truth.speech if with_speech else ()
        file = f"{self.truth.mixture:05d}-{name}.wav"
        return samples, replace(self.truth, file=file, variant=name, sounds=sounds, speech=speech)


def loud_parts(audio: Audio, config: MixtureConfig) -> list[tuple[int, int]]:
    """Spans [start, end) of the recording where it is loud, those that belong to one event joined.

    Only those are given that are long enough and within 10 dB of the loudest.
    """
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    if not len(power) or power.max() <= FAINT / 100:
        return []
    loud = np.flatnonzero(power >= power.max() * 10 ** (-config.depth / 10))
    shortest = config.shortest * SAMPLE_RATE
    breaks = np.flatnonzero(np.diff(loud) * FRAME > config.pause * SAMPLE_RATE)
    starts, ends = loud[np.append(0, breaks + 1)], loud[np.append(breaks, len(loud) - 1)] + 1
    return [
        (int(start) * FRAME, int(end) * FRAME)
        for start, end in zip(starts, ends, strict=True)
        if power[start:end].max() >= power.max() / 10 and (end - start) * FRAME >= shortest
    ]


def make_mixture(number: int, sources: Sources, config: MixtureConfig, seed: int) -> Mixture:
    """Mixture `number` of a seed. Raises StreamerError where no sound has a part that can be used."""
    if not sources.sounds:
        raise StreamerError("expected recordings of sounds with a label that the model knows, found none")
    return _Maker(number, sources, config, seed).make()


class _Maker:
    """One mixture as it grows from left to right."""

    def __init__(self, number: int, sources: Sources, config: MixtureConfig, seed: int) -> None:
        self._number, self._from, self._config = number, sources, config
        self._rng = np.random.default_rng([seed, number])
        self._n = round(config.seconds * SAMPLE_RATE)
        self._speech_snr = config.speech_snr[number % len(config.speech_snr)]
        self._background, self._origin = self._make_background()
        self._sounds, self._speech = np.zeros((2, self._n), np.float32)
        self._heard: list[TrueSound] = []
        self._said: list[TrueSpeech] = []

    def make(self) -> Mixture:
        config = self._config
        at = round((config.lead + self._rng.uniform(0, 1)) * SAMPLE_RATE)
        while (end := self._slot(at)) is not None:
            at = end + round(self._rng.uniform(config.apart[0], config.apart[-1]) * SAMPLE_RATE)
        peak = float(np.abs(self._background + self._sounds + self._speech).max())
        gain = np.float32(min(1.0, CEILING / max(peak, 1e-9)))
        truth = Scene(
            "",
            config.seconds,
            self._number,
            "both",
            tuple(self._heard),
            tuple(self._said),
            self._origin.ignored if self._origin else (),
            self._origin.key if self._origin else "",
        )
        return Mixture(gain * self._background, gain * self._sounds, gain * self._speech, truth)

    def _make_background(self) -> tuple[Audio, Recording | None]:
        """A recording, repeated and begun anywhere; noise where there is none."""
        if not self._from.backgrounds:
            samples, origin = self._rng.standard_normal(self._n).astype(np.float32), None
        else:
            origin = self._draw(self._from.backgrounds)
            whole = origin.load()
            samples = np.resize(np.roll(whole, -int(self._rng.integers(len(whole)))), self._n)
        level = 10 ** (self._config.background / 10)
        return samples * np.float32(np.sqrt(level / max(_power(samples), 1e-12))), origin

    def _slot(self, at: int) -> int | None:
        """An event and what is said over it, from sample `at` on; where both are over, None if none fits."""
        event, clip = self._event()
        words, spoken = self._utterance()
        longer = max(len(event), len(words))
        if at + longer > self._n:
            if self._heard:
                return None
            at = max(0, self._n - longer)
        event, words = event[: self._n], words[: self._n]
        # Whichever is shorter lies anywhere within the other.
        onset = at + int(self._rng.integers(0, max(1, len(words) - len(event))))
        spoken_at = at + int(self._rng.integers(0, max(1, len(event) - len(words))))
        snr = float(self._rng.choice(self._config.snr))
        below = max(_power(self._background[onset : onset + len(event)]), FAINT)
        event = _scaled(event, below * 10 ** (snr / 10))
        self._sounds[onset : onset + len(event)] += event
        end = onset + len(event)
        covered = None
        if spoken is not None:
            words = _scaled(words, _power(event) * 10 ** (self._speech_snr / 10))
            self._speech[spoken_at : spoken_at + len(words)] += words
            span = (spoken_at / SAMPLE_RATE, (spoken_at + len(words)) / SAMPLE_RATE)
            self._said.append(TrueSpeech(*span, spoken.text, self._speech_snr, spoken.key))
            covered = self._speech_snr
            end = max(end, spoken_at + len(words))
        label, *also = clip.labels
        times = (onset / SAMPLE_RATE, (onset + len(event)) / SAMPLE_RATE)
        self._heard.append(TrueSound(*times, label, snr, tuple(also), covered, clip.key))
        return end

    def _event(self) -> tuple[Audio, Recording]:
        """A label, not the one before where there are others; a recording of it; one event of that."""
        last = self._heard[-1].label if self._heard else ""
        labels = [label for label in self._from.sounds if label != last] or list(self._from.sounds)
        for _ in range(100):
            clip = self._draw(self._from.sounds[self._draw(labels)])
            audio = clip.load()
            if parts := loud_parts(audio, self._config):
                start, end = parts[int(self._rng.integers(len(parts)))]
                end = min(end, start + round(self._config.longest * SAMPLE_RATE))
                return _faded(audio[start:end]), clip
        raise StreamerError(
            f"expected recordings of sounds that are loud for {self._config.shortest} s, "
            "found none in 100 draws"
        )

    def _utterance(self) -> tuple[Audio, Recording | None]:
        for _ in range(100 if self._from.speech else 0):
            spoken = self._draw(self._from.speech)
            audio = _trimmed(spoken.load(), self._config)
            if 0 < len(audio) <= 2 * self._config.longest * SAMPLE_RATE:
                return audio, spoken
        return np.empty(0, np.float32), None

    def _draw(self, items: Sequence[Any]) -> Any:
        return items[int(self._rng.integers(len(items)))]


def _power(audio: Audio) -> float:
    return float(np.mean(audio.astype(np.float64) ** 2)) if len(audio) else 0.0


def _scaled(audio: Audio, power: float) -> Audio:
    return audio * np.float32(np.sqrt(power / max(_power(audio), 1e-12)))


def _faded(audio: Audio) -> Audio:
    n = min(FADE, len(audio) // 2)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    out = audio.copy()
    out[:n] *= ramp
    out[len(out) - n :] *= ramp[::-1]
    return out


def _trimmed(audio: Audio, config: MixtureConfig) -> Audio:
    """From where the first word begins to where the last one ends."""
    parts = loud_parts(audio, replace(config, pause=1e9, shortest=0.0))
    return audio[parts[0][0] : parts[-1][1]] if parts else audio[:0]


# ------------------------------------------------------------------------------- one kind only


def speech_only(
    number: int, sources: Sources, seconds: float, between: tuple[float, ...], seed: int
) -> tuple[Audio, Scene]:
    """One stream of utterances over faint noise, with pauses of `between` seconds (least, most)."""
    if not sources.speech:
        raise StreamerError("expected recordings with texts for a stream of speech, found none: see --speech")
    rng = np.random.default_rng([seed, number, 1])
    n = round(seconds * SAMPLE_RATE)
    samples = (10 ** (-70 / 20) * rng.standard_normal(n)).astype(np.float32)
    at, said = round(rng.uniform(between[0], between[-1]) * SAMPLE_RATE), []
    while True:
        one = sources.speech[int(rng.integers(len(sources.speech)))]
        audio = one.load()
        if at + len(audio) > n:
            break
        samples[at : at + len(audio)] += _levelled(audio, rng.uniform(-30, -18))
        times = (at / SAMPLE_RATE, (at + len(audio)) / SAMPLE_RATE)
        said.append(TrueSpeech(*times, one.text, None, one.key))
        at += len(audio) + round(rng.uniform(between[0], between[-1]) * SAMPLE_RATE)
    return samples, Scene(f"{number:05d}-speech-only.wav", seconds, number, "speech-only", (), tuple(said))


def sounds_only(number: int, sources: Sources, seconds: float, seed: int) -> tuple[Audio, Scene]:
    """One stream of sounds and backgrounds, each whole, one after the other at changing levels."""
    rng = np.random.default_rng([seed, number, 2])
    clips = [one for group in sources.sounds.values() for one in group] + list(sources.backgrounds)
    if not clips:
        raise StreamerError("expected recordings of sounds or backgrounds, found none: see --data")
    n = round(seconds * SAMPLE_RATE)
    samples, at, heard = np.zeros(n, np.float32), 0, []
    while at < n:
        one = clips[int(rng.integers(len(clips)))]
        audio = one.load()[: min(n - at, 30 * SAMPLE_RATE)]
        if not len(audio):
            continue
        samples[at : at + len(audio)] = _faded(_levelled(audio, rng.uniform(-40, -18)))
        if one.labels:
            times = (at / SAMPLE_RATE, (at + len(audio)) / SAMPLE_RATE)
            heard.append(TrueSound(*times, one.labels[0], None, one.labels[1:], None, one.key))
        at += len(audio)
    return samples, Scene(f"{number:05d}-sounds-only.wav", seconds, number, "sounds-only", tuple(heard))


def _levelled(audio: Audio, level: float) -> Audio:
    """At so many dB below full scale, less where it would clip."""
    out = _scaled(audio, 10 ** (level / 10))
    return out * np.float32(min(1.0, CEILING / max(float(np.abs(out).max(initial=0)), 1e-9)))
