"""CTC vocabularies in Hugging Face's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from streamer.errors import CheckpointError
from streamer.nn.letters import Letters, LettersHead, read_letters


def vocabulary(directory: Path, pieces: dict[str, object], **settings: object) -> Path:
    (directory / "vocab.json").write_text(json.dumps(pieces))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


def test_what_writes_something_in_the_order_of_its_ids(tmp_path: Path) -> None:
    pieces = {"B": 3, "A": 1, "|": 2, "<pad>": 0, "<unk>": 4, "<s>": 6}
    letters = read_letters(vocabulary(tmp_path, dict(pieces)), 7)
    assert letters == Letters(7, (1, 2, 3), ("A", " ", "B"))


def test_blank_and_delimiter_as_the_tokenizer_calls_them(tmp_path: Path) -> None:
    folder = vocabulary(
        tmp_path, {"a": 0, "_": 1}, pad_token={"content": "[PAD]", "lstrip": False}, word_delimiter_token="_"
    )
    (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": 2}))
    assert read_letters(folder, 3) == Letters(3, (0, 1), ("a", " "))


@pytest.mark.parametrize(
    ("pieces", "outputs", "message"),
    [
        ({"a": 0, "|": 1}, 2, "with its blank, '<pad>'.*found 2 pieces"),
        ({"<pad>": 0, "a": 5}, 2, "below the model's 2 outputs, found ids up to 5"),
        ({"<pad>": 0, "a": 0}, 2, "an id of its own"),
        ({"eng": {"<pad>": 0}}, 2, "found dict for 'eng'"),
        ({"<pad>": 0, "|": 1, " ": 2}, 3, "found both"),
        ({"<pad>": 0, "<unk>": 1}, 3, "expected letters, found 2 pieces"),
    ],
)
def test_vocabularies_that_do_not_fit(
    tmp_path: Path, pieces: dict[str, object], outputs: int, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_letters(vocabulary(tmp_path, pieces), outputs)


def test_a_missing_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*vocab\.json"):
        read_letters(tmp_path, 3)


def test_blank_comes_first_with_the_probability_of_all_that_is_silent() -> None:
    head = LettersHead(4, Letters(5, (4, 2), ("x", "y")))
    states = torch.randn(1, 3, 4)
    plain = head.out(states).softmax(-1)
    ours = head(states).softmax(-1)
    expected = torch.stack([plain[..., [0, 1, 3]].sum(-1), plain[..., 4], plain[..., 2]], -1)
    torch.testing.assert_close(ours, expected)
    assert head.n_token == 2
