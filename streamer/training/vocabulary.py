"""Learns a byte-level BPE vocabulary from normalised text (extra `train`: the tokenizers library)."""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

from streamer.asr.bytepairs import byte_alphabet, write_ranks
from streamer.errors import ConfigError, MissingExtraError

__all__ = ["train_vocabulary", "write_ranks"]

BYTES = 256
_PRIVATE = 0xE000


def train_vocabulary(texts: Iterable[str], size: int) -> list[bytes]:
    """Learn `size` pieces from lines of text; specials are not counted.

    Returns the pieces in rank order, the 256 single bytes first. Every line is learnt with a space
    in front, as Whisper writes it. A space with each letter is always a piece: otherwise a word with
    a rare initial would start with a bare space, which Whisper's decoding rules suppress.

    Raises ConfigError for a size without room for those, MissingExtraError without `tokenizers`.
    """
    initials = [f" {letter}".encode() for letter in string.ascii_lowercase]
    if size < BYTES + len(initials):
        raise ConfigError(f"expected a vocabulary of at least {BYTES + len(initials)} pieces, found {size}")
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingExtraError("training a vocabulary", "train") from error

    # A space with its letter is one symbol from the start, spelt with a private character: then every
    # merge that is learnt can be reached when the space merges first.
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = {letter: bytes([value]) for letter, value in byte_alphabet().items()}
    private = {initial: chr(_PRIVATE + i) for i, initial in enumerate(initials)}
    letters = alphabet | {character: initial for initial, character in private.items()}
    spelling = {_spell(initial, alphabet): character for initial, character in private.items()}

    def words(text: str) -> str:
        pieces = (piece for piece, _ in split.pre_tokenize_str(" " + text.strip()))
        return " ".join(spelling.get(piece[:2], piece[:2]) + piece[2:] for piece in pieces)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(letters),
        special_tokens=[],
    )
    tokenizer.train_from_iterator((words(text) for text in texts), trainer)
    learnt = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    merges = [b"".join(letters[letter] for letter in piece) for piece, _ in learnt if len(piece) > 1]
    return [*(bytes([value]) for value in range(BYTES)), *initials, *merges]


def _spell(piece: bytes, alphabet: dict[str, bytes]) -> str:
    letter = {value: character for character, value in alphabet.items()}
    return "".join(letter[bytes([value])] for value in piece)


def train_to_file(texts: Iterable[str], size: int, path: Path) -> int:
    """`train_vocabulary` straight into a rank file; returns how many pieces it has."""
    ranks = train_vocabulary(texts, size)
    write_ranks(path, ranks)
    return len(ranks)
