"""The vocabulary of a CTC head that spells: a piece is a letter or a few, a space stands between words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import tiktoken

from streamer.asr.languages import UNSPACED
from streamer.asr.ngram import WordModel
from streamer.asr.tokenizer import Tokenizer

SPACE = " "


class SpellingTokenizer(Tokenizer):
    """Token i is piece i; the specials that every vocabulary has follow, and are never heard."""

    def __init__(self, encoding: tiktoken.Encoding, pieces: Sequence[str]) -> None:
        super().__init__(encoding)
        self._letters = tuple(pieces)

    @classmethod
    def of(cls, pieces: Sequence[str]) -> SpellingTokenizer:
        """From the pieces (`nn.letters.Letters`), all different, in the order of their tokens."""
        ranks = {piece.encode(): number for number, piece in enumerate(pieces)}
        return cls(Tokenizer.from_ranks(ranks, name="letters").encoding, pieces)

    def encode(self, text: str) -> list[int]:
        """Tokens of text, the longest piece first; what no piece spells is left out."""
        known = {piece: number for number, piece in enumerate(self._letters)}
        longest = max(map(len, self._letters), default=0)
        tokens: list[int] = []
        at = 0
        while at < len(text):
            size = next((n for n in range(longest, 0, -1) if text[at : at + n] in known), 0)
            if size:
                tokens.append(known[text[at : at + size]])
            at += size or 1
        return tokens

    def split_to_word_tokens(
        self, tokens: Sequence[int], language: str | None = None
    ) -> tuple[list[str], list[list[int]]]:
        """Words and the tokens of each. A space is one of its own: a word begins with its first letter."""
        words: list[str] = []
        groups: list[list[int]] = []
        for token in tokens:
            piece = self.decode([token])
            if words and piece != SPACE and words[-1] != SPACE and language not in UNSPACED:
                words[-1] += piece
                groups[-1].append(token)
            else:
                words.append(piece)
                groups.append([token])
        return words, groups


def as_known(pieces: Sequence[bytes], known: WordModel) -> list[bytes]:
    """The pieces in the case in which a word model knows more beginnings of words: many heads only shout."""
    lower = [piece.decode(errors="replace").lower().encode() for piece in pieces]

    def beginnings(letters: Sequence[bytes]) -> int:
        return sum(known.likeliest(a + b) is not None for a, b in product(letters, repeat=2) if a.strip())

    few = len(pieces) <= 100  # letters; byte pairs are spelt as the model of words is
    return lower if few and beginnings(lower) > beginnings(pieces) else list(pieces)
