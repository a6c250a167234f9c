"""Caption writers: hand-made cases, and properties over arbitrary events."""

from __future__ import annotations

import html
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer import captions
from streamer.captions import LINE, LINES, WRITERS, Cue, Transcript, cues, printable
from streamer.events import SoundStarted, SoundStopped, TranscriptFinal, Word


def final(text: str, words: list[tuple[str, float, float]], utterance: int = 1) -> TranscriptFinal:
    """A final of stream `s` from (text, start, end) triples."""
    timed = [Word(text=t, start=a, end=b, probability=0.9) for t, a, b in words]
    return TranscriptFinal(
        stream="s",
        utterance=utterance,
        start=words[0][1] if words else 0.0,
        end=words[-1][2] if words else 1.0,
        text=text,
        words=timed,
        language="en",
        avg_logprob=-0.1,
        no_speech_prob=0.0,
        latency_ms=5.0,
    )


def gathered(*events: TranscriptFinal | SoundStarted | SoundStopped) -> Transcript:
    transcript = Transcript("s")
    for event in events:
        transcript.add(event)
    return transcript


def sound(number: int, label: str, start: float, end: float | None) -> list[SoundStarted | SoundStopped]:
    events: list[SoundStarted | SoundStopped] = [
        SoundStarted(stream="s", sound=number, label=label, start=start, score=0.6)
    ]
    if end is not None:
        events.append(SoundStopped(stream="s", sound=number, label=label, start=start, end=end, peak=0.8))
    return events


def parse_vtt(text: str) -> list[tuple[int, int, list[str]]]:
    """A strict reader of the subset of WebVTT that matters: header, blank lines, timings, escaped text."""
    blocks = text.rstrip("\n").split("\n\n")
    assert blocks.pop(0) == "WEBVTT"
    parsed = []
    for block in blocks:
        timing, *lines = block.split("\n")
        match = re.fullmatch(r"(\d\d+):(\d\d):(\d\d)\.(\d{3}) --> (\d\d+):(\d\d):(\d\d)\.(\d{3})", timing)
        assert match, timing
        a = [int(g) for g in match.groups()]
        assert lines
        assert all(lines)
        assert not any("-->" in line or "<" in line for line in lines)
        start = ((a[0] * 60 + a[1]) * 60 + a[2]) * 1000 + a[3]
        end = ((a[4] * 60 + a[5]) * 60 + a[6]) * 1000 + a[7]
        parsed.append((start, end, [html.unescape(line) for line in lines]))
    return parsed


def test_text_has_a_line_an_utterance_and_a_line_a_sound() -> None:
    transcript = gathered(
        final("hello there", [("hello", 1.0, 1.4), ("there", 1.4, 1.8)]),
        *sound(1, "Dog", 0.4, 0.9),
        final("bye", [("bye", 5.0, 5.4)], 2),
    )
    assert captions.write_text(transcript) == "hello there\nbye\n"
    assert captions.write_text(transcript, tags=True) == "[Dog]\nhello there\nbye\n"


def test_srt_is_exact() -> None:
    transcript = gathered(
        final(
            "a <i>b</i> --> c", [("a", 1.0, 1.2), ("<i>b</i>", 1.2, 1.4), ("-->", 1.4, 2.0), ("c", 2, 2.5)]
        ),
        *sound(1, "Dog", 3600.0, 3601.5),
    )
    assert captions.write_srt(transcript, tags=True) == (
        "1\n00:00:01,000 --> 00:00:02,500\na ‹i›b‹/i› → c\n\n2\n01:00:00,000 --> 01:00:01,500\n[Dog]\n"
    )


def test_vtt_escapes() -> None:
    transcript = gathered(final("R&B <3 -->", [("R&B", 0.0, 0.5), ("<3", 0.5, 1.0), ("-->", 1.0, 2.0)]))
    text = captions.write_vtt(transcript)
    assert "R&amp;B &lt;3 --&gt;" in text
    assert parse_vtt(text) == [(0, 2000, ["R&B <3 -->"])]


def test_a_long_final_becomes_balanced_cues_at_the_words_times() -> None:
    words = [(f"word{i:02}", i * 0.4, i * 0.4 + 0.3) for i in range(40)]
    made = cues(gathered(final(" ".join(w for w, *_ in words), words)))
    assert len(made) >= 3
    assert [w for cue in made for w in " ".join(cue.lines).split()] == [w for w, *_ in words]
    for cue in made:
        assert len(cue.lines) <= LINES
        assert all(len(line) <= LINE for line in cue.lines)
        assert cue.start_ms % 400 == 0


def test_scripts_without_spaces_stay_without() -> None:
    made = cues(gathered(final("你好世界", [("你好", 0.0, 0.5), ("世界", 0.5, 1.0)])))
    assert made == [Cue(0, 1000, ("你好世界",))]


def test_a_sound_under_words_goes_on_top_of_them_and_one_beside_them_gets_its_own_cue() -> None:
    speech = final("hello", [("hello", 2.0, 4.0)])
    heard = [*sound(1, "Dog", 3.0, 3.5), *sound(2, "Rain", 3.0, None), *sound(3, "Siren", 0.0, 9.0)]
    made = cues(gathered(speech, *heard), tags=True)
    assert made == [Cue(0, 2000, ("[Siren]",)), Cue(2000, 4000, ("[Dog] [Rain]", "hello"))]


def test_a_final_without_words_is_spread_over_its_time() -> None:
    bare = final("one two", []).model_copy(update={"start": 4.0, "end": 6.0})
    assert cues(gathered(bare)) == [Cue(4000, 6000, ("one two",))]


def test_other_streams_and_empty_finals_are_left_out() -> None:
    transcript = gathered(final("", []))
    transcript.add(final("other", [("other", 0, 1)]).model_copy(update={"stream": "t"}))
    assert captions.write_srt(transcript) == ""
    assert captions.document(transcript)["text"] == ""
    assert len(captions.write_jsonl(transcript).splitlines()) == 1


@pytest.mark.parametrize(
    "evil",
    ["\x1b]0;title\x07x", "a\x1b[2Jb", "\x9b31mred", "left\u202eright", "two\nlines\r", "a\tb", "\x00"],
)
def test_printable_takes_the_teeth_out(evil: str) -> None:
    clean = printable(evil)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", clean)


def test_printable_keeps_what_people_write() -> None:
    assert printable("naïve – 你好 می\u200cخواهم 👩\u200d🚒") == "naïve – 你好 می\u200cخواهم 👩\u200d🚒"


TEXT = st.text(max_size=90)
TIME = st.floats(0, 40_000, allow_nan=False).map(lambda x: round(x, 3))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """A model on its worst day: times that jump, hostile text, words that are not the text."""
    transcript = Transcript("s")
    for n in range(draw(st.integers(0, 4))):
        words = [(draw(TEXT), a, a + draw(st.floats(-1, 9))) for a in draw(st.lists(TIME, max_size=6))]
        text = draw(TEXT) if draw(st.booleans()) else " ".join(w for w, *_ in words)
        transcript.add(final(text, words, n))
    for n in range(draw(st.integers(0, 4))):
        start = draw(TIME)
        for event in sound(n, draw(TEXT.filter(bool)), start, draw(st.none() | TIME)):
            transcript.add(event)
    return transcript


@settings(max_examples=60, deadline=None)
@given(transcripts(), st.booleans())
def test_cues_are_ordered_apart_and_readable(transcript: Transcript, tags: bool) -> None:
    made = cues(transcript, tags)
    for cue in made:
        assert 0 <= cue.start_ms < cue.end_ms
        assert cue.lines
        assert all(line == printable(line) and line.strip() for line in cue.lines)
    for before, after in pairwise(made):
        assert before.start_ms < after.start_ms
        assert before.end_ms <= after.start_ms
    if not tags:
        assert all(len(c.lines) <= LINES and all(len(x) <= LINE for x in c.lines) for c in made)


@settings(max_examples=60, deadline=None)
@given(transcripts(), st.booleans())
def test_every_writer_is_parsed_back(transcript: Transcript, tags: bool) -> None:
    made = cues(transcript, tags)
    read = parse_vtt(captions.write_vtt(transcript, tags))
    assert read == [(c.start_ms, c.end_ms, list(c.lines)) for c in made]
    srt = captions.write_srt(transcript, tags)
    assert len(re.findall(r"^\d+\n\d\d+:\d\d:\d\d,\d{3} --> ", srt, flags=re.MULTILINE)) == len(made)
    assert srt.count("-->") == len(made)
    assert json.loads(WRITERS["json"](transcript, tags))["stream"] == "s"
    lines = WRITERS["jsonl"](transcript, tags).split("\n")
    assert lines.pop() == ""
    assert all(json.loads(line)["stream"] == "s" for line in lines)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcdefgh", min_size=1, max_size=60), min_size=1, max_size=40))
def test_no_word_is_lost_or_torn_from_its_time(texts: list[str]) -> None:
    words = [(t, i * 0.5, i * 0.5 + 0.4) for i, t in enumerate(texts)]
    made = cues(gathered(final(" ".join(texts), words)))
    assert "".join("".join(c.lines) for c in made).replace(" ", "") == "".join(texts)
