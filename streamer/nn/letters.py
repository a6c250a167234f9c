"""CTC heads over letters, in Hugging Face's layout: `lm_head.*` and `vocab.json`, in the order that we read.

Everything that writes nothing (the blank, and the tokenizer's specials, which a CTC model never means) is one
blank that comes first; the word delimiter is a space; the other pieces follow in the order of their ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamer.errors import CheckpointError
from streamer.nn.hugging_face import read_json

VOCABULARY = "vocab.json"
_SPECIALS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_DELIMITER = "|"
_MARKED = re.compile(r"<.+>|\[.+\]")


@dataclass(frozen=True, slots=True)
class Letters:
    """What the outputs of a CTC layer write.

    outputs: how many there are. ids: of the pieces that write something. pieces: what they write.
    """

    outputs: int
    ids: tuple[int, ...]
    pieces: tuple[str, ...]


class LettersHead(nn.Module):
    """A CTC layer: states (B, T, D) -> log-odds (B, T, 1 + pieces), blank first."""

    spoken: Tensor
    silent: Tensor

    def __init__(self, n_state: int, letters: Letters) -> None:
        super().__init__()
        self.out = nn.Linear(n_state, letters.outputs)
        silent = sorted(set(range(letters.outputs)) - set(letters.ids))
        self.register_buffer("spoken", torch.tensor(letters.ids), persistent=False)
        self.register_buffer("silent", torch.tensor(silent), persistent=False)

    @property
    def n_token(self) -> int:
        """Outputs beside the blank."""
        return len(self.spoken)

    def forward(self, states: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.out(states)
        # The probability of writing nothing is the sum of all outputs that write nothing.
        blank = logits[..., self.silent].logsumexp(-1, keepdim=True)
        return torch.cat([blank, logits[..., self.spoken]], dim=-1)


def read_letters(directory: Path, outputs: int) -> Letters:
    """The vocabulary beside a CTC checkpoint with so many outputs.

    Raises CheckpointError for one that is missing, has no blank, or other ids than the outputs.
    """
    path = directory / VOCABULARY
    vocabulary = _ids(path)
    if (directory / "added_tokens.json").exists():
        vocabulary |= _ids(directory / "added_tokens.json")
    settings = _tokenizer_config(directory)
    specials = {name: _content(settings.get(name, default)) for name, default in _SPECIALS.items()}
    blank = specials["pad_token"]
    if blank not in vocabulary:
        raise CheckpointError(
            f"{path}: expected a CTC vocabulary with its blank, {blank!r} (the tokenizer's pad_token), found "
            f"{_some(vocabulary)} and no such piece. Take the vocabulary that the model was trained with"
        )
    if len(set(vocabulary.values())) != len(vocabulary) or not set(vocabulary.values()) <= set(
        range(outputs)
    ):
        raise CheckpointError(
            f"{path}: expected each of {len(vocabulary)} pieces to have an id of its own below the model's "
            f"{outputs} outputs, found ids up to {max(vocabulary.values())}: take the files of one model"
        )
    delimiter = _content(settings.get("word_delimiter_token", _DELIMITER))
    nothing = set(specials.values())
    spoken = sorted(
        (number, " " if piece == delimiter else piece)
        for piece, number in vocabulary.items()
        if piece and piece not in nothing and (piece == delimiter or not _MARKED.fullmatch(piece))
    )
    pieces = tuple(piece for _, piece in spoken)
    if not pieces:
        raise CheckpointError(f"{path}: expected letters, found {_some(vocabulary)}")
    if len(set(pieces)) != len(pieces):
        raise CheckpointError(f"{path}: expected either {delimiter!r} or a space between words, found both")
    return Letters(outputs, tuple(number for number, _ in spoken), pieces)


def _ids(path: Path) -> dict[str, int]:
    content = read_json(path)
    for piece, number in content.items():
        if not isinstance(number, int):
            raise CheckpointError(
                f"{path}: expected an id for each piece, found {type(number).__name__} for {piece!r}. "
                "A vocabulary of several languages has to be cut down to the one of the head"
            )
    return dict(content)


def _tokenizer_config(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (directory / name).exists():
            found |= read_json(directory / name)
    return found


def _content(token: Any) -> str:
    """A token as the tokenizer's files spell it: text, or a table with `content`."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _some(vocabulary: dict[str, int]) -> str:
    shown = sorted(vocabulary, key=lambda piece: vocabulary[piece])[:6]
    return f"{len(vocabulary)} pieces ({', '.join(map(repr, shown))}, …)"
