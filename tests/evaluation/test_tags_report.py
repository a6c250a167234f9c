"""Tables for people, JSON for machines, a picture for both."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.evaluation.tags_events import match, score_events
from streamer.evaluation.tags_heard import Reported
from streamer.evaluation.tags_metrics import score_tags
from streamer.evaluation.tags_picture import draw
from streamer.evaluation.tags_psds import PsdsScore
from streamer.evaluation.tags_report import TagsReport, as_json, tables
from streamer.evaluation.tags_scenes import Scene, TrueSound
from streamer.evaluation.tags_words import Overlap, Silence


def report() -> TagsReport:
    sounds = Scene("a.wav", 60, 0, "sounds", (TrueSound(2, 4, "Dog"), TrueSound(10, 12, "Cat")))
    matched = match(sounds, [Reported("Dog", 2.5, 4, 0.9, 4.8), Reported("Rain", 30, 33, 0.8, 32)], 1.0)
    empty = match(Scene("b.wav", 60, 0, "speech"), [Reported("Rain", 30, 33, 0.8, 32)], 1.0)
    return TagsReport(
        about={"model": "tiny"},
        clips=score_tags(np.eye(2, dtype=bool), [[0.9, 0.2], [0.3, 0.8]], ["Dog", "Cat"]),
        left_out={"Unicorn": 3},
        events={"sounds": score_events([matched], (0.5,)), "speech": score_events([empty], (0.5,))},
        psds={"sounds": {"psds1": PsdsScore(0.4, {"Dog": 0.5, "Cat": 0.3})}},
        overlaps=[Overlap(0.0, 2, 1.0, 0.5, 8, 0.0, 25.0)],
        speech_only=Silence(1800, 2, {"Dog": 2}),
        sounds_only=Silence(1800, 0, {}),
    )


def test_everything_that_was_measured_is_in_a_table() -> None:
    shown = dict(tables(report()))
    assert shown["Recordings"][0] | {"mAP": "100.0", "top 1": "100.0", "d'": "inf"} == shown["Recordings"][0]
    sounds, speech = shown["Events"]
    assert (sounds["found"], sounds["onset error"], sounds["told after"]) == ("50.0", "0.50", "2.80")
    assert (sounds["false/h"], sounds["psds1"]) == ("60.0", "40.0")
    assert (speech["found"], speech["onset error"], speech["false/h"]) == ("-", "-", "60.0")
    dog = next(row for row in shown["Events, by label"] if row["label"] == "Dog")
    assert (dog["sounds"], dog["sounds onset"], dog["speech"]) == ("1/1", "0.50", "-")
    rain = next(row for row in shown["Events, by label"] if row["label"] == "Rain")
    assert rain["sounds"] == "0/0 +1"
    assert shown["Speech over sounds"][0]["WER over sounds"] == "25.0"
    assert [row["reported"] for row in shown["One without the other"]] == ["2 sounds", "0 words"]
    for title, rows in tables(report()):
        assert rows, title


def test_what_was_not_asked_for_is_in_none() -> None:
    nothing = TagsReport(about={})
    assert tables(nothing) == []
    assert set(as_json(nothing)) == {"about", "left_out"}


def test_json_has_everything_and_only_numbers_that_json_has() -> None:
    out = json.loads(json.dumps(as_json(report()), allow_nan=False))
    assert set(out) == {
        *{"about", "left_out", "clips", "events", "psds", "speech_over_sounds"},
        *{"speech_only", "sounds_only"},
    }
    assert set(out) >= {field.name for field in fields(TagsReport)} - {"overlaps"}
    assert out["clips"]["d_prime"] is None
    assert out["events"]["sounds"]["onset_error_median"] == 0.5
    assert out["events"]["speech"]["found_rate"] is None
    assert out["speech_only"]["per_hour"] == 4
    assert "does not say which recordings" in out["about"]["training_clips"]


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws")
    draw(report(), tmp_path / "all.png")
    one = TagsReport(about={}, clips=report().clips)
    draw(one, tmp_path / "clips.png")
    first, second = ((tmp_path / name).read_bytes() for name in ("all.png", "clips.png"))
    assert first[:8] == second[:8] == b"\x89PNG\r\n\x1a\n"
    # Width in pixels: three panels against one.
    assert int.from_bytes(first[16:20], "big") == 3 * int.from_bytes(second[16:20], "big")
    with pytest.raises(StreamerError, match="found neither"):
        draw(TagsReport(about={}), tmp_path / "none.png")
    with pytest.raises(StreamerError, match="cannot write"):
        draw(report(), tmp_path / "missing" / "a.png")
