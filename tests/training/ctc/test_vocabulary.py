"""What a CTC head writes."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.nn.letters import Letters, read_letters
from streamer.training.ctc.vocabulary import (
    Vocabulary,
    build,
    check_spelling,
    frames_needed,
    spell,
    take_over,
)
from tests.tiny_speech import PIECES, edit, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

DROP = ".,!?-"


def test_what_is_built_is_read_back_and_by_transformers_too(tmp_path: Path) -> None:
    import transformers

    vocabulary = build(["Grüße, Welt!", "l’été"], "auto", DROP, tmp_path)
    assert vocabulary.letters.pieces == (" ", "'", *sorted(set("grüßewelté")))
    assert read_letters(tmp_path, vocabulary.letters.outputs) == vocabulary.letters
    ids = vocabulary.encode("grüße welt")
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(str(tmp_path))
    assert tokenizer("grüße welt").input_ids == ids
    assert tokenizer.pad_token_id == vocabulary.blank
    assert vocabulary.decode([0, *ids, 0]) == "grüße welt"


@settings(deadline=None)
@given(text=st.text("ab ", max_size=12))
def test_what_frames_say_is_the_text_where_blanks_part_repetitions(text: str) -> None:
    text = " ".join(text.split())
    vocabulary = Vocabulary(Letters(4, (1, 2, 3), (" ", "a", "b")), 0, "lower")
    ids = vocabulary.encode(text)
    frames: list[int] = []
    for one in ids:
        frames += [vocabulary.blank, one] if frames and frames[-1] == one else [one]
    assert len(frames) == frames_needed(ids)
    assert vocabulary.decode(frames) == text
    assert frames_needed(ids) == len(ids) + sum(len(list(run)) - 1 for _, run in groupby(ids))


def test_a_checkpoints_letters_are_taken_over_with_their_case(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2")
    vocabulary = take_over(tmp_path / "w2v2", len(PIECES), "auto", tmp_path / "copy")
    assert vocabulary.case == "upper"
    text = spell("Don’t stop -- now", vocabulary.case, DROP)
    assert text == "DON'T STOP NOW"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert (tmp_path / "copy" / "vocab.json").read_bytes() == (tmp_path / "w2v2" / "vocab.json").read_bytes()


def test_a_blank_of_another_name(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2")
    edit(tmp_path / "w2v2" / "vocab.json", **{"<pad>": 1, "<s>": 0})
    assert take_over(tmp_path / "w2v2", len(PIECES), "auto", tmp_path / "copy").blank == 1


def test_pieces_of_several_characters_are_preferred(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "|": 1, "t": 2, "h": 3, "th": 4}')
    vocabulary = take_over(tmp_path, 5, "auto", tmp_path / "copy")
    assert vocabulary.encode("th ht") == [4, 1, 3, 2]
    with pytest.raises(ValueError, match="x"):
        vocabulary.encode("x")


def test_unknown_characters_are_named_with_where_they_are(tmp_path: Path) -> None:
    vocabulary = build(["abc"], "lower", "", tmp_path)
    check_spelling([("one.wav", "a cab")], vocabulary)
    with pytest.raises(StreamerError, match=r"'é' \(2×, first in two.wav\).*--vocabulary build"):
        check_spelling([("one.wav", "ab"), ("two.wav", "é"), ("three.wav", "aé")], vocabulary)


def test_transcripts_without_letters(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="with letters"):
        build(["...", "|"], "auto", DROP, tmp_path)
