"""Test utterances whose word times are known exactly, because a synthesiser of our own says them.

flite tells when every phone of an utterance ends (`-psdur`), not which word it belongs to. So every word
is looked up alone (`-ps`): where the phones of all words, one after the other, are as many as those of
the utterance and differ in nothing but vowels (which are reduced in running speech), the words' borders
are known. Other utterances are left out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamer.errors import StreamerError
from streamer.evaluation.sets import MANIFEST, SpokenWord

VOICES = ("slt", "rms", "awb", "kal16")
"""flite's English voices at 16 kHz."""

PAUSE = "pau"

VOWELS = frozenset(
    {
        "aa",
        "ae",
        "ah",
        "ao",
        "aw",
        "ax",
        "axr",
        "ay",
        "eh",
        "er",
        "ey",
        "ih",
        "ix",
        "iy",
        "ow",
        "oy",
        "uh",
        "uw",
    }
)

_KEPT = re.compile(r"[a-z]+(?:'[a-z]+)*|[,;:]")


def spoken_form(line: str) -> str:
    """A line's words in lower case, with a comma where it pauses. Empty where there are digits."""
    if re.search(r"\d", line):
        return ""
    kept = _KEPT.findall(line.lower().replace("’", "'"))
    return re.sub(r"( [,;:])+", ",", " ".join(kept)).strip(", ")


def word_times(
    words: Sequence[str], alone: Sequence[Sequence[str]], phones: Sequence[tuple[str, float]]
) -> list[SpokenWord] | None:
    """When each word is said; None where its phones cannot be told from the others'.

    alone: the phones of each word by itself. phones: of the utterance, pauses included, each with its end
    in seconds.
    """
    starts = [0.0, *(end for _, end in phones)]
    spoken = [
        (phone, start, end) for (phone, end), start in zip(phones, starts, strict=False) if phone != PAUSE
    ]
    expected = [phone for word in alone for phone in word]
    if len(expected) != len(spoken) or not all(
        _alike(one, other) for one, (other, *_) in zip(expected, spoken, strict=True)
    ):
        return None
    found, at = [], 0
    for word, own in zip(words, alone, strict=True):
        if not own:
            return None
        found.append(SpokenWord(word, spoken[at][1], spoken[at + len(own) - 1][2]))
        at += len(own)
    return found


def _alike(one: str, other: str) -> bool:
    return one == other or {one, other} <= VOWELS


@dataclass(slots=True)
class Speaker:
    """One of flite's voices; StreamerError where flite fails."""

    voice: str
    _alone: dict[str, list[str]] = field(default_factory=dict)

    def say(self, text: str, out: Path, stretch: float = 1.0) -> list[SpokenWord] | None:
        """Speak a `spoken_form` into the WAV file `out`, slower for `stretch` > 1, and tell its words' times.

        None (and no file) where those are not known.
        """
        words = text.replace(",", "").split()
        scratch = out.with_suffix(".part.wav")
        printed = _flite(
            *("-voice", self.voice, "--setf", f"duration_stretch={stretch:.3f}", "-psdur", "-t", f" {text}"),
            *("-o", str(scratch)),
        )
        if not scratch.exists():  # flite says that all is well
            raise StreamerError(f"flite could not write {scratch}: is there room, and a folder to write to?")
        pairs = (one.rpartition(":") for one in printed)
        times = word_times(
            words, [self._phones(word) for word in words], [(p, float(e)) for p, _, e in pairs]
        )
        if times is None:
            scratch.unlink()
        else:
            scratch.replace(out)
        return times

    def _phones(self, word: str) -> list[str]:
        if word not in self._alone:
            printed = _flite("-voice", self.voice, "-ps", "-t", f" {word}", "-o", "none")
            self._alone[word] = [phone for phone in printed if phone != PAUSE]
        return self._alone[word]


def _flite(*arguments: str) -> list[str]:
    """What flite prints, in words."""
    try:
        done = subprocess.run(["flite", *arguments], check=True, capture_output=True, timeout=60, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise StreamerError(f"flite could not speak: {error}") from error
    return done.stdout.split()


def make_set(
    lines: Iterable[str], folder: Path, voices: Sequence[str] = VOICES, seed: int = 0
) -> tuple[int, int]:
    """Speak every line into a new set of recordings in `folder`, its manifest with `words`.

    Voice and speed are drawn from the seed and the line's number. Returns how many lines were spoken and
    how many left out. Raises StreamerError without flite or one of the voices, and where the folder holds a
    set already.
    """
    if shutil.which("flite") is None:
        raise StreamerError("expected the program flite, found none: apt-get install flite")
    there = set(_flite("-lv"))  # flite itself takes another voice where there is none of a name
    if unknown := sorted(set(voices) - there):
        raise StreamerError(
            f"expected voices of flite such as {', '.join(v for v in VOICES if v in there)}, "
            f"found {', '.join(unknown)}"
        )
    if (folder / MANIFEST).exists():
        raise StreamerError(f"{folder} holds a set of recordings already: name a folder that does not")
    folder.mkdir(parents=True, exist_ok=True)
    speakers = {voice: Speaker(voice) for voice in voices}
    rows, left = [], 0
    for number, line in enumerate(lines):
        rng = np.random.default_rng([seed, number])
        voice, stretch = str(rng.choice(list(voices))), float(rng.uniform(0.85, 1.2))
        text, out = spoken_form(line), folder / f"{number:05d}.wav"
        times = speakers[voice].say(text, out, stretch) if text else None
        if times is None:
            left += 1
            continue
        said = [[word.text, round(word.start, 3), round(word.end, 3)] for word in times]
        rows.append({"path": out.name, "text": text, "speaker": voice, "words": said, "source": "flite"})
    (folder / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows), left
