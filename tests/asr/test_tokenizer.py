import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.bytepairs import byte_alphabet, write_ranks
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.errors import CheckpointError, ModelError
from streamer.nn.definition import Vocabulary

whisper_tokenizer = pytest.importorskip("whisper.tokenizer")

TEXT = " Hello, \"world\" [applause] ♪ la la ♪ it's 5 o'clock — ünïcode 你好，世界 (really)!"


def theirs_and_ours(n_vocab):
    multilingual = n_vocab >= 51865
    languages = n_vocab - 51765 - int(multilingual)
    theirs = whisper_tokenizer.get_tokenizer(
        multilingual, num_languages=languages, language="en", task="transcribe"
    )
    return theirs, Tokenizer.official(n_vocab)


@pytest.mark.parametrize("n_vocab", [51864, 51865, 51866])
def test_official_vocabularies_agree_with_whisper(n_vocab):
    theirs, ours = theirs_and_ours(n_vocab)
    assert ours.n_vocab == n_vocab == theirs.encoding.n_vocab
    names = "eot sot sot_prev sot_lm no_speech no_timestamps timestamp_begin transcribe translate"
    for name in [*names.split(), "non_speech_tokens"]:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.sot_sequence() == tuple(theirs.sot_sequence)
    assert ours.encode(TEXT) == theirs.encode(TEXT)
    tokens = [*ours.encode(TEXT), ours.timestamp_begin + 54, ours.eot]
    assert ours.decode(tokens) == theirs.decode(tokens)
    assert ours.decode_with_timestamps(tokens) == theirs.decode_with_timestamps(tokens)
    assert "<|1.08|>" in ours.decode_with_timestamps(tokens)
    assert ours.split_to_word_tokens(tokens) == theirs.split_to_word_tokens(tokens)
    if ours.is_multilingual:
        assert set(ours.languages) == set(theirs.all_language_codes)  # theirs come in no fixed order
        assert set(ours.language_tokens) == set(theirs.all_language_tokens)
        de = whisper_tokenizer.get_tokenizer(
            True, num_languages=len(ours.languages), language="de", task="translate"
        )
        assert ours.sot_sequence("de", "translate") == tuple(de.sot_sequence)


@pytest.fixture(scope="module")
def multilingual():
    return theirs_and_ours(51865)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50255), max_size=20))
def test_words_of_any_tokens_are_whispers(multilingual, tokens):
    theirs, ours = multilingual
    try:
        expected = theirs.split_to_word_tokens(tokens)
    except IndexError:  # whisper looks past the end of text that ends in half a character
        ours.split_to_word_tokens(tokens)
        return
    assert ours.split_to_word_tokens(tokens) == expected


def test_words_without_spaces(multilingual):
    _, ours = multilingual
    words, _ = ours.split_to_word_tokens(ours.encode("你好世界"), "zh")
    assert "".join(words) == "你好世界"
    assert len(words) > 1


def test_own_vocabulary_has_whispers_order_without_languages():
    tokenizer = Tokenizer.from_ranks({bytes([value]): value for value in range(256)})
    assert not tokenizer.is_multilingual
    assert (tokenizer.eot, tokenizer.sot, tokenizer.translate) == (256, 257, 258)
    assert tokenizer.timestamp_begin == 264
    assert tokenizer.n_vocab == 264 + 1501
    assert tokenizer.sot_sequence() == (257,)
    assert tokenizer.time(tokenizer.n_vocab - 1) == 30.0
    assert tokenizer.time(3) is None


def test_english_only_refuses_other_languages():
    tokenizer = Tokenizer.from_ranks({bytes([value]): value for value in range(256)})
    with pytest.raises(ModelError, match="only transcribes English"):
        tokenizer.sot_sequence("de")
    with pytest.raises(ModelError, match="only transcribes English"):
        tokenizer.sot_sequence("en", "translate")


def test_text_that_looks_like_a_special_is_text():
    tokenizer = Tokenizer.from_ranks({bytes([value]): value for value in range(256)})
    assert max(tokenizer.encode("<|endoftext|>")) < tokenizer.eot


def spell(ranks):
    letters = {value: letter for letter, value in byte_alphabet().items()}
    return {"".join(letters[value] for value in piece): rank for piece, rank in ranks.items()}


@pytest.mark.parametrize("single_file", [False, True])
@pytest.mark.parametrize("n_vocab", [51864, 51865])
def test_hugging_face_directory_is_the_same_vocabulary(tmp_path, n_vocab, single_file):
    official = Tokenizer.official(n_vocab)
    specials = {name: official.special(name) for name in official.encoding.special_tokens_set}
    # As the exports of that time: no timestamps, and the no-speech token under its older name.
    specials = {name: i for name, i in specials.items() if i < official.timestamp_begin}
    specials["<|nocaptions|>"] = specials.pop("<|nospeech|>")
    ranks = spell(official.encoding._mergeable_ranks)
    if single_file:
        added = [{"content": name, "id": i} for name, i in specials.items()]
        content = {"model": {"vocab": ranks}, "added_tokens": added}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    else:
        (tmp_path / "vocab.json").write_text(json.dumps(ranks | {"<|endoftext|>": official.eot}))
        (tmp_path / "added_tokens.json").write_text(json.dumps(specials))
    ours = Tokenizer.from_hugging_face(tmp_path)
    assert ours.n_vocab == n_vocab
    assert ours.languages == official.languages
    assert ours.encode(TEXT) == official.encode(TEXT)
    assert ours.sot_sequence() == official.sot_sequence()


def test_bad_vocabularies_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="found neither"):
        Tokenizer.from_hugging_face(tmp_path)
    (tmp_path / "vocab.tiktoken").write_text("AA== 0\nAQ== x\n")
    with pytest.raises(CheckpointError, match=r"vocab.tiktoken:2"):
        Tokenizer.from_ranks_file(tmp_path / "vocab.tiktoken")
    (tmp_path / "vocab.tiktoken").write_text("AA== 0\nAQ== 2\n")
    with pytest.raises(CheckpointError, match="ranks 0 to 1"):
        Tokenizer.from_ranks_file(tmp_path / "vocab.tiktoken")
    with pytest.raises(ModelError, match=r"vocab.tiktoken"):
        Tokenizer.official(1234)


@pytest.mark.parametrize("n_vocab", [51864, 51865, 51866])
def test_official_vocabularies_as_rank_files_are_the_same(tmp_path, n_vocab):
    official = Tokenizer.official(n_vocab)
    write_ranks(tmp_path / "ranks", official.pieces)
    own = load_tokenizer(Vocabulary("ranks", tmp_path / "ranks", n_vocab, official.languages))
    assert own.languages == official.languages
    assert own.encoding._special_tokens == official.encoding._special_tokens
    assert own.encoding._mergeable_ranks == official.encoding._mergeable_ranks
