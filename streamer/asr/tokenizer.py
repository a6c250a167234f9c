"""Whisper's tokens: byte pairs, then specials in a fixed order, then timestamps every 20 ms.

One class for every vocabulary: our own rank files, the official ones, Hugging Face directories.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import tiktoken

from streamer.asr.bytepairs import byte_alphabet, read_ranks
from streamer.asr.languages import LANGUAGES, UNSPACED
from streamer.errors import CheckpointError, MissingExtraError, ModelError
from streamer.nn.definition import Vocabulary
from streamer.timebase import FRAME, FRAMES_PER_SECOND, FULL_CONTEXT, SAMPLE_RATE, exact_div

Task = Literal["transcribe", "translate"]

TIMESTAMPS = exact_div(FULL_CONTEXT, FRAME) + 1
"""<|0.00|> to <|30.00|>."""

_PIECES = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_MARKS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
_REPLACEMENT = "\ufffd"
_SPECIAL = re.compile(r"<\|.*\|>")
_FIRST_MULTILINGUAL = 51865
"""Size of the smallest official multilingual vocabulary (99 languages)."""


def _specials(languages: Sequence[str]) -> list[str]:
    """Names of the specials in the order of their ids."""
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in languages),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{i * FRAME / SAMPLE_RATE:.2f}|>" for i in range(TIMESTAMPS)),
    ]


class Tokenizer:
    """Text to tokens and back. `languages` are the codes a caller may ask for: empty for English only."""

    def __init__(self, encoding: tiktoken.Encoding, languages: Sequence[str] = ()) -> None:
        self.encoding = encoding
        self.languages = tuple(languages)

    @classmethod
    def from_ranks(
        cls, ranks: Mapping[bytes, int], languages: Sequence[str] = (), name: str = "streamer"
    ) -> Tokenizer:
        """From byte pairs; the specials follow them, with a token for each of `languages`."""
        return cls(_encoding(ranks, languages, name), languages)

    @classmethod
    def from_ranks_file(cls, path: str | Path, languages: Sequence[str] = ()) -> Tokenizer:
        """From a tiktoken rank file (`vocab.tiktoken` of our own models)."""
        return cls.from_ranks(read_ranks(Path(path)), languages, Path(path).name)

    @classmethod
    def official(cls, n_vocab: int) -> Tokenizer:
        """The vocabulary of an official checkpoint, recognised by its size.

        Raises MissingExtraError without the openai-whisper package, which has the files, and
        ModelError for a size that no official checkpoint has.
        """
        multilingual = n_vocab >= _FIRST_MULTILINGUAL
        assets = _official_assets()
        ranks = read_ranks(assets / ("multilingual.tiktoken" if multilingual else "gpt2.tiktoken"))
        n_languages = n_vocab - len(ranks) - len(_specials(()))
        if not 0 <= n_languages <= len(LANGUAGES):
            raise ModelError(
                "expected an official Whisper vocabulary (51864 tokens for English only, 51865 or 51866 "
                f"multilingual), found {n_vocab} tokens; a model with its own vocabulary needs a "
                "vocab.tiktoken beside it"
            )
        # The English-only checkpoints have tokens for the languages too, but never use them.
        languages = LANGUAGES[:n_languages]
        encoding = _encoding(ranks, languages, "multilingual" if multilingual else "gpt2")
        return cls(encoding, languages if multilingual else ())

    @classmethod
    def from_hugging_face(cls, directory: str | Path) -> Tokenizer:
        """From a Hugging Face Whisper directory: tokenizer.json, or vocab.json with added_tokens.json."""
        pieces = _read_hugging_face(Path(directory))
        alphabet = byte_alphabet()
        ranks = {
            bytes(alphabet[letter] for letter in piece): rank
            for piece, rank in pieces.items()
            if not _SPECIAL.fullmatch(piece) and all(letter in alphabet for letter in piece)
        }
        eot = pieces.get("<|endoftext|>")
        if eot is None or sorted(ranks.values()) != list(range(eot)):
            raise CheckpointError(
                f"expected {directory} to have byte pairs with the ids below that of <|endoftext|>, "
                f"found {len(ranks)} pieces and <|endoftext|> at {eot}"
            )
        languages = [code for code in LANGUAGES if f"<|{code}|>" in pieces]
        tokenizer = cls.from_ranks(ranks, languages, Path(directory).name)
        for name in ("<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"):
            found = pieces.get(name)
            expected = tokenizer.encoding.encode_single_token(name)
            if found != expected:
                raise CheckpointError(
                    f"{directory}: expected {name} at {expected} (Whisper's order), found {found}"
                )
        # English-only exports keep the language tokens as well; only their size tells.
        english_only = tokenizer.n_vocab < _FIRST_MULTILINGUAL and len(languages) >= 99
        return cls(tokenizer.encoding, () if english_only else languages)

    @property
    def pieces(self) -> list[bytes]:
        """Every piece of text in the order of ids, as `bytepairs.write_ranks` keeps them."""
        return [self.encoding.decode_single_token_bytes(i) for i in range(self.eot)]

    @cached_property
    def n_vocab(self) -> int:
        """How many tokens there are."""
        return self.encoding.n_vocab

    @property
    def is_multilingual(self) -> bool:
        """Whether a language and a task are part of the prompt."""
        return bool(self.languages)

    @cached_property
    def eot(self) -> int:
        """End of text; every id below is a piece of text."""
        return self.special("<|endoftext|>")

    @cached_property
    def sot(self) -> int:
        """Start of transcript."""
        return self.special("<|startoftranscript|>")

    @cached_property
    def sot_prev(self) -> int:
        """Start of the text before."""
        return self.special("<|startofprev|>")

    @cached_property
    def sot_lm(self) -> int:
        """Start of text without audio (never used by the released models)."""
        return self.special("<|startoflm|>")

    @cached_property
    def no_speech(self) -> int:
        """Its probability right after `sot` says that nobody speaks."""
        return self.special("<|nospeech|>")

    @cached_property
    def no_timestamps(self) -> int:
        """Asks for text without timestamps."""
        return self.special("<|notimestamps|>")

    @cached_property
    def timestamp_begin(self) -> int:
        """<|0.00|>; every id from here on is a time in steps of 20 ms."""
        return self.special("<|0.00|>")

    @cached_property
    def transcribe(self) -> int:
        """Asks for text in the language spoken."""
        return self.special("<|transcribe|>")

    @cached_property
    def translate(self) -> int:
        """Asks for English text."""
        return self.special("<|translate|>")

    @cached_property
    def language_tokens(self) -> tuple[int, ...]:
        """The tokens of `languages`, in their order."""
        return tuple(self.special(f"<|{code}|>") for code in self.languages)

    def special(self, name: str) -> int:
        """The id of a special token by its full name."""
        return self.encoding.encode_single_token(name)

    def sot_sequence(self, language: str | None = None, task: Task = "transcribe") -> tuple[int, ...]:
        """What a transcript starts with: `sot`, and for multilingual vocabularies language and task.

        Language None is English. Raises ModelError for a language this vocabulary has not, and for
        anything but transcribing English where it has none.
        """
        if not self.is_multilingual:
            if language not in (None, "en") or task != "transcribe":
                raise ModelError(
                    f"this model only transcribes English, was asked to {task} {language!r}: "
                    "choose a multilingual model"
                )
            return (self.sot,)
        code = language or "en"
        if code not in self.languages:
            raise ModelError(f"expected a language code out of {', '.join(self.languages)}; found {code!r}")
        return (
            self.sot,
            self.special(f"<|{code}|>"),
            self.transcribe if task == "transcribe" else self.translate,
        )

    def encode(self, text: str) -> list[int]:
        """Tokens of text; what looks like a special token is text too."""
        return self.encoding.encode(text, disallowed_special=())

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, without timestamps. Incomplete UTF-8 becomes U+FFFD."""
        return self.encoding.decode([token for token in tokens if token < self.timestamp_begin])

    def decode_with_timestamps(self, tokens: Sequence[int]) -> str:
        """Text of tokens, timestamps written as <|1.08|>."""
        return self.encoding.decode(list(tokens))

    def time(self, token: int) -> float | None:
        """Seconds that a timestamp token stands for; None for any other token."""
        return (token - self.timestamp_begin) / FRAMES_PER_SECOND if token >= self.timestamp_begin else None

    def timestamp(self, seconds: float) -> int:
        """The token that stands for a time, to the nearest 20 ms; the last one for all that is later."""
        return self.timestamp_begin + min(max(round(seconds * FRAMES_PER_SECOND), 0), TIMESTAMPS - 1)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Tokens that write what nobody says: speaker tags, brackets, music notes. As Whisper's own set."""
        symbols = [*'"#()*+/:;<=>@[\\]^_`{|}~「」『』']
        symbols += _MARKS.split()
        notes = [*"♩♪♫♬♭♮♯"]
        # A hyphen or an apostrophe may stand inside a word, not at its beginning.
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in symbols + notes:
            for tokens in (self.encode(symbol), self.encode(" " + symbol)):
                # Notes of several tokens share their first bytes with other symbols that nobody says either.
                if len(tokens) == 1 or symbol in notes:
                    found.add(tokens[0])
        return tuple(sorted(found))

    def split_to_word_tokens(
        self, tokens: Sequence[int], language: str | None = None
    ) -> tuple[list[str], list[list[int]]]:
        """Words, each with its space in front, and the tokens of each; specials are words of their own.

        Languages without spaces are split wherever the text is whole characters.
        """
        pieces, piece_tokens = self._split_on_unicode(tokens)
        if language in UNSPACED:
            return pieces, piece_tokens
        words: list[str] = []
        word_tokens: list[list[int]] = []
        for piece, ids in zip(pieces, piece_tokens, strict=True):
            alone = ids[0] >= self.eot or piece.startswith(" ") or piece.strip() in string.punctuation
            if alone or not words:
                words.append(piece)
                word_tokens.append(ids)
            else:
                words[-1] += piece
                word_tokens[-1] += ids
        return words, word_tokens

    def _split_on_unicode(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Runs of tokens that decode to whole characters; an incomplete end is left out."""
        whole = self.decode_with_timestamps(tokens)
        pieces: list[str] = []
        piece_tokens: list[list[int]] = []
        waiting: list[int] = []
        offset = 0
        for token in tokens:
            waiting.append(token)
            text = self.decode_with_timestamps(waiting)
            broken = text.find(_REPLACEMENT)
            # A U+FFFD that the whole text has at the same place is what was said, not half a character.
            if broken < 0 or whole[offset + broken : offset + broken + 1] == _REPLACEMENT:
                pieces.append(text)
                piece_tokens.append(waiting)
                waiting = []
                offset += len(text)
        return pieces, piece_tokens


def load_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer of a loaded model. Raises CheckpointError where it has not the model's size."""
    if vocabulary.kind == "official" or vocabulary.path is None:
        return Tokenizer.official(vocabulary.n_vocab)
    if vocabulary.kind == "hugging-face":
        tokenizer = Tokenizer.from_hugging_face(vocabulary.path)
    else:
        tokenizer = _from_ranks_file(vocabulary, vocabulary.path)
    if tokenizer.n_vocab != vocabulary.n_vocab:
        raise CheckpointError(
            f"expected the vocabulary in {vocabulary.path} to have the model's {vocabulary.n_vocab} tokens, "
            f"found {tokenizer.n_vocab}: take the files of one model"
        )
    return tokenizer


def _from_ranks_file(vocabulary: Vocabulary, path: Path) -> Tokenizer:
    """With tokens for languages that nobody may ask for where an English-only Whisper has them."""
    ranks = read_ranks(path)
    unused = vocabulary.n_vocab - len(ranks) - len(_specials(()))
    if vocabulary.languages or not 0 < unused <= len(LANGUAGES):
        return Tokenizer.from_ranks(ranks, vocabulary.languages, path.name)
    return Tokenizer(_encoding(ranks, LANGUAGES[:unused], path.name))


def _encoding(ranks: Mapping[bytes, int], languages: Sequence[str], name: str) -> tiktoken.Encoding:
    specials = {special: len(ranks) + i for i, special in enumerate(_specials(languages))}
    return tiktoken.Encoding(
        name=name,
        explicit_n_vocab=len(ranks) + len(specials),
        pat_str=_PIECES,
        mergeable_ranks=dict(ranks),
        special_tokens=specials,
    )


def _official_assets() -> Path:
    """Where openai-whisper keeps its vocabularies; found without importing it (numba takes seconds)."""
    import importlib.util

    spec = importlib.util.find_spec("whisper")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the vocabulary of official Whisper checkpoints", "whisper")
    assets = Path(spec.submodule_search_locations[0]) / "assets"
    if not (assets / "multilingual.tiktoken").exists():
        raise MissingExtraError("the vocabulary of official Whisper checkpoints", "whisper")
    return assets


def _read_hugging_face(directory: Path) -> dict[str, int]:
    """Every piece and special of a directory, as spelt there, with its id."""
    vocab, added, single = (
        directory / name for name in ("vocab.json", "added_tokens.json", "tokenizer.json")
    )
    try:
        if vocab.exists():
            pieces: dict[str, int] = json.loads(vocab.read_text(encoding="utf-8"))
            if added.exists():
                pieces |= json.loads(added.read_text(encoding="utf-8"))
        elif single.exists():
            content = json.loads(single.read_text(encoding="utf-8"))
            pieces = content["model"]["vocab"]
            pieces |= {token["content"]: token["id"] for token in content.get("added_tokens", [])}
        else:
            raise CheckpointError(f"expected vocab.json or tokenizer.json in {directory}, found neither")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read the vocabulary of {directory}: {error}") from error
    return pieces
