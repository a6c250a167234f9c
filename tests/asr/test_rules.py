from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.rules import LONGEST_LOOP, LOOP_TIMES, LOOP_TOKENS, loop_start


@given(
    st.lists(st.integers(0, 3), max_size=10), st.lists(st.integers(0, 5), min_size=1, max_size=LONGEST_LOOP)
)
def test_a_loop_is_found_and_one_round_is_kept(before, unit):
    times = max(LOOP_TIMES, LOOP_TOKENS)
    tokens = before + unit * times
    cut = loop_start(tokens)
    assert cut is not None
    assert cut <= len(before) + len(unit)
    # What was cut is nothing but rounds of what was kept.
    period = next(
        p for p in range(1, cut + 1) if all(tokens[i] == tokens[i - p] for i in range(cut, len(tokens)))
    )
    assert period <= len(unit)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_only_loops_are_cut(tokens):
    cut = loop_start(tokens)
    looping = [
        p
        for p in range(1, LONGEST_LOOP + 1)
        if (n := p * max(LOOP_TIMES, -(-LOOP_TOKENS // p))) <= len(tokens)
        and all(a == b for a, b in zip(tokens[-n:-p], tokens[len(tokens) - n + p :], strict=True))
    ]
    assert (cut is not None) == bool(looping)


def test_ordinary_repetition_stays():
    assert loop_start([1] * (LOOP_TOKENS - 1)) is None
    assert loop_start([7, 8, 9, 10, 11, 12] * (LOOP_TIMES - 1)) is None
    assert loop_start([7, 8, 9, 10, 11, 12] * LOOP_TIMES) == 6
    assert loop_start([]) is None
