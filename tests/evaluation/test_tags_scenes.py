"""The truth survives the disk, and files hold what was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.evaluation.mixtures import VARIANTS, make_mixture
from streamer.evaluation.tags_config import MixtureConfig
from streamer.evaluation.tags_scenes import TRUTH, Scene, TrueSound, TrueSpeech, read_scenes, write_scenes
from tests.evaluation.recordings import sources


def test_written_and_read_again(tmp_path: Path) -> None:
    made = [make_mixture(0, sources(), MixtureConfig(seconds=6.0), 1).variant(name) for name in VARIANTS]
    scenes = write_scenes(tmp_path / "out", iter(made))
    assert read_scenes(tmp_path / "out") == scenes == [scene for _, scene in made]
    for samples, scene in made:
        np.testing.assert_allclose(decode_file(str(tmp_path / "out" / scene.file)), samples, atol=1 / 32767)
    with pytest.raises(StreamerError, match="without truth"):
        write_scenes(tmp_path / "out", iter(made))


def test_what_a_person_annotated(tmp_path: Path) -> None:
    row = {
        "file": "kitchen.wav",
        "seconds": 60,
        "sounds": [{"onset": 1.5, "offset": 2, "label": "Dog"}],
        "speech": [{"onset": 4, "offset": 6, "text": "come here"}],
    }
    (tmp_path / TRUTH).write_text(json.dumps(row) + "\n\n")
    assert read_scenes(tmp_path) == [
        Scene("kitchen.wav", 60, 1, "recorded", (TrueSound(1.5, 2, "Dog"),), (TrueSpeech(4, 6, "come here"),))
    ]


@pytest.mark.parametrize(
    "line",
    [
        "nothing of the kind",
        '{"seconds": 3}',
        "[]",
        '{"file": "a.wav", "seconds": 3, "sounds": [{"onset": 1, "label": "Dog"}]}',
        '{"file": "a.wav", "seconds": 3, "sound": []}',
    ],
)
def test_lines_that_are_none_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / TRUTH).write_text('{"file": "a.wav", "seconds": 3}\n' + line)
    with pytest.raises(StreamerError, match="line 2: expected"):
        read_scenes(tmp_path)


def test_a_folder_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="found no such file"):
        read_scenes(tmp_path)
