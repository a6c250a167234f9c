"""What `streamer eval tags` can be told beyond its options; config/evaluation/tags.toml has the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MixtureConfig:
    """How mixtures are put together. Seconds and decibels."""

    seconds: float = 30.0
    """Of one mixture."""
    lead: float = 2.0
    """Of background alone before the first event."""
    apart: tuple[float, ...] = (3.0, 8.0)
    """Between the end of one event (or of what is said over it) and the next: the least, the most."""
    shortest: float = 0.2
    """Events shorter than this are not used …"""
    longest: float = 6.0
    """… and longer ones are cut off here. Utterances of more than twice as much are not used."""
    pause: float = 1.5
    """A recording that is quiet for longer than this holds two events, of which one is taken."""
    depth: float = 30.0
    """A recording is quiet where 20 ms of it are so far below its loudest ones."""
    snr: tuple[float, ...] = (5.0, 10.0, 20.0)
    """Of an event over the background, drawn for each."""
    speech_snr: tuple[float, ...] = (0.0, 5.0, 10.0)
    """Of speech over the event below it; mixtures take them in turn."""
    background: float = -45.0
    """Level of the background below full scale."""


def _ignored() -> dict[str, tuple[str, ...]]:
    return {
        "miaowing": ("Cat", "Meow", "Animal", "Domestic animals, pets"),
        "tap": ("Water", "Water tap, faucet", "Sink (filling or washing)", "Pour", "Rain", "White noise"),
        "dishes": ("Dishes, pots, and pans", "Cutlery, silverware", "Water", "Clatter"),
        "bike": ("Mechanisms", "Bicycle", "Engine"),
        "white_noise": ("White noise", "Noise", "Static", "Pink noise"),
        "pink_noise": ("White noise", "Noise", "Static", "Pink noise", "Wind"),
    }


@dataclass(frozen=True, slots=True)
class TagsEvalConfig:
    """Everything that the evaluation of tags can be told."""

    window: float = 10.0
    """Seconds of a recording that the head judges at once; longer ones are judged by the mean of several."""
    collars: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Seconds between a true onset and a reported one, up to which they count as the same."""
    slack: float = 2.0
    """A reported sound within this many seconds of a true one of its label means that one."""
    pieces: float = 300.0
    """Seconds of one stream of speech only, or of sounds only."""
    words_between: tuple[float, ...] = (0.3, 2.0)
    """Seconds between two utterances of a stream of speech only: the least, the most."""
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    ignore: Mapping[str, tuple[str, ...]] = field(default_factory=_ignored)
    """Labels that a background truly holds, by a part of its name: neither right nor wrong over it."""
