import string

import pytest

from streamer.asr.tokenizer import Tokenizer
from streamer.errors import ConfigError
from streamer.training.vocabulary import train_vocabulary, write_ranks

TEXTS = ["the cat sat on the mat", "the dog doesn't sit on the log", "zebras and quails sit on the log"] * 3


def test_learns_pieces_and_round_trips(tmp_path):
    ranks = train_vocabulary(TEXTS, 320)
    assert ranks[:256] == [bytes([b]) for b in range(256)]
    assert len(ranks) == len(set(ranks)) <= 320
    assert b" the" in ranks
    write_ranks(tmp_path / "vocab.tiktoken", ranks)
    tokenizer = Tokenizer.from_ranks_file(tmp_path / "vocab.tiktoken")
    assert tokenizer.eot == len(ranks)
    assert len(tokenizer.encode(" the")) == 1
    for text in (*TEXTS, " anything: ünïcode ♪ 123"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("size", [282, 290, 330])
def test_every_initial_is_a_piece(size):
    ranks = train_vocabulary(TEXTS, size)
    assert len(ranks) <= size
    assert {f" {letter}".encode() for letter in string.ascii_lowercase} <= set(ranks)


def test_is_deterministic():
    assert train_vocabulary(TEXTS, 300) == train_vocabulary(TEXTS, 300)


def test_too_small_says_how_small():
    with pytest.raises(ConfigError, match="at least 282"):
        train_vocabulary(TEXTS, 100)
