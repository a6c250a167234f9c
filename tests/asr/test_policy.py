from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.policy import MOST_TOKENS, Agreement, AlignAtt, Hypothesis, Nothing, make_policy, shown
from streamer.asr.tokenizer import Tokenizer
from streamer.config import LiveConfig

TOKENIZER = Tokenizer.from_ranks(
    {bytes([value]): value for value in range(256)} | {b" th": 256, b" the": 257, b" \xc3": 258, b"ing": 259}
)


def tokens(text):
    return TOKENIZER.encode(text)


def test_stable_is_what_two_agree_on_without_the_last_word():
    policy = Agreement(TOKENIZER)
    policy.hypothesis(Hypothesis(tokens(" the cat sat")))
    assert policy.stable == ""
    policy.hypothesis(Hypothesis(tokens(" the cat sits on")))
    assert policy.stable == "the cat"
    assert policy.committed == tuple(tokens(" the cat"))
    policy.hypothesis(Hypothesis(tokens(" the cat sits on it")))
    assert policy.stable == "the cat sits"
    policy.reset()
    assert (policy.stable, policy.committed) == ("", ())


def test_a_word_that_may_grow_is_held_back():
    policy = Agreement(TOKENIZER)
    policy.hypothesis(Hypothesis(tokens(" go walk")))
    policy.hypothesis(Hypothesis(tokens(" go walking now")))
    assert policy.stable == "go"


def test_three_must_agree_when_three_are_asked():
    policy = Agreement(TOKENIZER, 3)
    for text in (" a b x", " a b c"):
        policy.hypothesis(Hypothesis(tokens(text)))
        assert policy.stable == ""
    policy.hypothesis(Hypothesis(tokens(" a b c d")))
    assert policy.stable == "a b"


def test_half_characters_are_held_back():
    policy = Agreement(TOKENIZER)
    whole = tokens(" a é b")
    for end in range(1, len(whole) + 1):
        policy.hypothesis(Hypothesis(whole[:end]))
        assert "\ufffd" not in policy.stable
    assert policy.stable in ("a", "a é")


def test_hypotheses_that_never_agree_leave_nothing_and_grow_nothing():
    policy = Agreement(TOKENIZER)
    for i in range(50):
        policy.hypothesis(Hypothesis(tokens(f" {'xy'[i % 2]} same end") * 20))
    assert policy.committed == ()
    assert len(policy._recent) == 2


def test_specials_are_not_text():
    policy = Agreement(TOKENIZER)
    for _ in range(2):
        policy.hypothesis(Hypothesis([TOKENIZER.timestamp_begin, *tokens(" a b"), TOKENIZER.eot]))
    assert policy.committed == tuple(tokens(" a"))


def heard(text, at, end, beyond=None):
    """Every token of a text heard at the frame given for its first letter's word."""
    ids, frames = [], []
    for word, frame in zip(text.split(), at, strict=True):
        new = tokens(f" {word}")
        ids += new
        frames += [frame] * len(new)
    return Hypothesis(tuple(ids), tuple(frames), end, beyond=beyond)


def test_alignatt_keeps_what_was_heard_before_the_margin():
    policy = AlignAtt(TOKENIZER, margin=25, longest_lag=300)
    policy.hypothesis(heard("one two three", (10, 60, 90), 100))
    assert policy.stable == "one two"
    # A place later in time than its neighbours' holds back what follows it too.
    policy.hypothesis(heard("one two three four five", (10, 60, 90, 140, 110), 150))
    assert policy.stable == "one two three"
    policy.reset()
    assert (policy.stable, policy.committed) == ("", ())


def test_alignatt_keeps_only_what_every_likely_reading_shares():
    policy = AlignAtt(TOKENIZER, margin=25, longest_lag=300, patience=80)
    one = heard("one two three four", (10, 40, 60, 70), 100)
    within_two = len(tokens(" one tw"))
    policy.hypothesis(replace(one, sure=within_two))
    assert policy.stable == "one"
    policy.hypothesis(replace(one, sure=len(one.tokens)))
    assert policy.stable == "one two three"
    # What was heard too long ago does not wait for certainty.
    policy.reset()
    policy.hypothesis(replace(one, heard=140, sure=0))
    assert policy.stable == "one two"  # more than 80 frames ago


def test_words_that_were_just_heard_are_not_shown():
    one = heard("one two three four", (10, 40, 60, 90), 100)
    assert [TOKENIZER.decode(shown(TOKENIZER, one, tail)) for tail in (0, 20, 50, 95)] == [
        " one two three four",
        " one two three",
        " one two",
        "",
    ]
    # A word is shown as a whole, or not at all; without any frames it is.
    spread = replace(one, frames=(*one.frames[:-2], 85, 95))
    assert TOKENIZER.decode(shown(TOKENIZER, spread, 10)) == " one two three"
    assert shown(TOKENIZER, replace(one, frames=()), 50) == one.tokens


def test_alignatt_asks_the_dropped_token_whether_the_last_word_is_whole():
    (letter,) = tokens("s")
    whole, half = (AlignAtt(TOKENIZER, 25, 300) for _ in range(2))
    half.hypothesis(heard("one two", (10, 60), 100, beyond=letter))
    whole.hypothesis(heard("one two", (10, 60), 100, beyond=tokens(" th")[0]))
    assert (half.stable, whole.stable) == ("one", "one two")


@pytest.mark.parametrize(
    "policy",
    [AlignAtt(TOKENIZER, 25, 300), Agreement(TOKENIZER, longest_lag=300)],
    ids=["alignatt", "agreement"],
)
def test_the_largest_lag_forces_what_nobody_agrees_on(policy):
    for i, end in enumerate((200, 310, 360)):
        policy.hypothesis(heard(f"one {'xy'[i % 2]}", (10, 50), end))
    assert policy.stable == "one x"


def test_alignatt_without_frames_waits():
    policy = AlignAtt(TOKENIZER, 25, 300)
    policy.hypothesis(Hypothesis(tokens(" one two three"), (), 1000))
    assert policy.stable == ""


def test_settings_choose():
    assert isinstance(make_policy(LiveConfig(), TOKENIZER), AlignAtt)
    assert isinstance(make_policy(LiveConfig(policy="agreement"), TOKENIZER), Agreement)
    off = make_policy(LiveConfig(policy="off"), TOKENIZER)
    assert isinstance(off, Nothing)
    off.hypothesis(Hypothesis(tokens(" a b")))
    off.hypothesis(Hypothesis(tokens(" a b")))
    off.reset()
    assert (off.committed, off.stable) == ((), "")
    with pytest.raises(ValueError, match="at least 2"):
        Agreement(TOKENIZER, 1)


IDS = st.lists(st.sampled_from([*tokens(" the abé,1"), 256, 258, 259, 0xC3, 0xA9, 32]), max_size=10)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 3), st.lists(IDS, min_size=1, max_size=12))
def test_stable_text_never_changes(agree, continuations):
    """With a decoder that keeps to its prefix: monotone, and every later text begins with what was stable."""
    policy = Agreement(TOKENIZER, agree)
    for continuation in continuations:
        before, text_before = policy.committed, policy.stable
        hypothesis = (*before, *continuation)
        text = TOKENIZER.decode(hypothesis).strip()
        assert text.startswith(text_before)
        policy.hypothesis(Hypothesis(hypothesis))
        assert policy.committed[: len(before)] == before
        assert policy.stable.startswith(text_before)
        assert text.startswith(policy.stable)
        assert len(policy.committed) <= MOST_TOKENS


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(IDS, st.lists(st.integers(0, 99), min_size=300, max_size=300)), min_size=1, max_size=9)
)
def test_alignatts_stable_text_never_changes(continuations):
    policy = AlignAtt(TOKENIZER, 10, 80)
    for continuation, frames in continuations:
        before, text_before = policy.committed, policy.stable
        hypothesis = (*before, *continuation)
        policy.hypothesis(Hypothesis(hypothesis, frames[: len(hypothesis)], 90))
        assert policy.committed[: len(before)] == before
        assert policy.stable.startswith(text_before)
        assert TOKENIZER.decode(hypothesis).strip().startswith(policy.stable)


@settings(max_examples=60, deadline=None)
@given(st.lists(IDS, max_size=8))
def test_a_decoder_that_forgets_its_prefix_takes_nothing_back(hypotheses):
    policy = Agreement(TOKENIZER)
    for hypothesis in hypotheses:
        before = policy.committed
        policy.hypothesis(Hypothesis(hypothesis))
        assert policy.committed[: len(before)] == before


def test_stable_is_bounded():
    policy = Agreement(TOKENIZER)
    long = tokens(" ab" * 400)
    for _ in range(3):
        policy.hypothesis(Hypothesis(long))
    assert 0 < len(policy.committed) <= MOST_TOKENS
