"""What a CTC head writes: built from the transcripts, or taken over from a checkpoint; and texts in it."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError
from streamer.nn.letters import VOCABULARY, Letters, read_letters

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""In the order of the published checkpoints, the blank first."""
DELIMITER = "|"
FILES = (VOCABULARY, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
CASES = ("auto", "lower", "upper", "keep")
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """letters: what the outputs write. blank: the output that ends a letter. case: how texts are spelt."""

    letters: Letters
    blank: int
    case: str

    @property
    def ids(self) -> dict[str, int]:
        """The output of each piece."""
        return dict(zip(self.letters.pieces, self.letters.ids, strict=True))

    def encode(self, text: str) -> list[int]:
        """The outputs that write `text`, as `spell` gives it; ValueError for what cannot be written."""
        ids, out = self.ids, []
        longest = sorted(ids, key=len, reverse=True)
        position = 0
        while position < len(text):
            piece = next((piece for piece in longest if text.startswith(piece, position)), None)
            if piece is None:
                raise ValueError(text[position])
            out.append(ids[piece])
            position += len(piece)
        return out

    def decode(self, best: Iterable[int]) -> str:
        """The text of the best output of each frame: repetitions are one, the blank is none."""
        pieces = dict(zip(self.letters.ids, self.letters.pieces, strict=True))
        before, out = -1, []
        for one in best:
            if one != before:
                out.append(pieces.get(one, ""))
            before = one
        return " ".join("".join(out).split())


def spell(text: str, case: str, drop: str) -> str:
    """A transcript as it is learnt: composed characters, one case, a space for every run of `drop` or blanks.

    case: lower, upper or keep.
    """
    text = unicodedata.normalize("NFC", text.replace("’", "'"))
    text = text.lower() if case == "lower" else text.upper() if case == "upper" else text
    return " ".join(re.sub(f"[{re.escape(drop + DELIMITER)}]", " ", text).split())


def frames_needed(ids: Sequence[int]) -> int:
    """Frames that CTC needs to write so many letters: a blank stands between two of the same."""
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


def build(texts: Iterable[str], case: str, drop: str, folder: Path) -> Vocabulary:
    """Write the vocabulary of `texts` into `folder`, in Hugging Face's layout, and return it.

    Raises StreamerError where the texts have no letters.
    """
    case = "lower" if case == "auto" else case
    letters = sorted(set().union(*(spell(text, case, drop) for text in texts)) - {" "})
    if not letters:
        raise StreamerError("expected transcripts with letters to build a vocabulary from, found none")
    folder.mkdir(parents=True, exist_ok=True)
    ids = {piece: i for i, piece in enumerate((*SPECIALS, DELIMITER, *letters))}
    _write(folder / VOCABULARY, ids)
    names = ("pad_token", "bos_token", "eos_token", "unk_token")
    about = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": DELIMITER}
    _write(folder / "tokenizer_config.json", about | dict(zip(names, SPECIALS, strict=True)))
    return Vocabulary(read_letters(folder, len(ids)), 0, case)


def take_over(checkpoint: Path, outputs: int, case: str, folder: Path) -> Vocabulary:
    """Copy a checkpoint's vocabulary into `folder` and return it; of `case` auto, that of its letters.

    Raises CheckpointError for one that cannot be read.
    """
    letters = read_letters(checkpoint, outputs)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    if case == "auto":
        cased = Counter(
            "upper" if piece.isupper() else "lower" for piece in letters.pieces if piece.isalpha()
        )
        case = "keep" if len(cased) == 2 else next(iter(cased), "keep")
    blank = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))[_pad_token(folder)]
    return Vocabulary(letters, int(blank), case)


def check_spelling(texts: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> None:
    """Raises StreamerError naming the characters of recordings' texts that the vocabulary has not."""
    known = set("".join(vocabulary.letters.pieces))
    unknown: Counter[str] = Counter()
    example: dict[str, str] = {}
    for name, text in texts:
        for character in set(text) - known:
            unknown[character] += 1
            example.setdefault(character, name)
    if unknown:
        shown = ", ".join(f"{c!r} ({n}×, first in {example[c]})" for c, n in unknown.most_common(_SHOWN))
        raise StreamerError(
            f"expected transcripts in the checkpoint's own letters ({''.join(sorted(known)).strip()}), found "
            f"{shown}. Correct them, name characters that mean nothing in 'drop' of --config, or learn new "
            "letters with --vocabulary build"
        )


def _pad_token(folder: Path) -> str:
    """As `read_letters` finds the blank, which has checked that it is there."""
    found: Any = SPECIALS[0]
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("pad_token", found)
    return str(found["content"] if isinstance(found, dict) else found)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
