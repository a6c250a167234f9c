"""``streamer transcribe``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from streamer.cli.transcribe import _targets, duration
from tests.cli.conftest import Run
from tests.cli.tiny import make_wav


def test_several_files_of_which_one_is_broken(streamer: Run, tmp_path: Path) -> None:
    make_wav(tmp_path / "a.wav", 0.6, 1.5, 0.6)
    make_wav(tmp_path / "b.wav", 0.6, 1.0, 0.6)
    (tmp_path / "bad.wav").write_bytes(b"nothing of the kind")
    # Random weights are sure of nothing: reason enough not to believe their text.
    believing = ("--set", "guards.enabled=false")
    done = streamer("transcribe", "a.wav", "bad.wav", "b.wav", "--format", "json", "-o", "out", *believing)
    assert done.returncode == 1
    assert "bad.wav" in done.stderr
    assert "1 of 3 files failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.json"]
    document = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [sound["label"] for sound in document["sounds"]] == ["Dog"]
    assert len(document["utterances"]) == 1


def test_captions_with_sound_lines_go_to_standard_output_and_the_bar_to_the_terminal(
    tiny: Path, tmp_path: Path
) -> None:
    make_wav(tmp_path / "a.wav", 0.6, 1.5, 0.6)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "streamer.cli", "transcribe", "a.wav", "--format", "vtt", "--tags"]
    done = subprocess.run(
        [*command, "--model", str(tiny)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        timeout=60,
        check=False,
    )
    os.close(theirs)
    bar = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, bar
    assert done.stdout.startswith("WEBVTT\n")
    assert "[Dog]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "a.wav" in bar


def test_targets_do_not_overwrite_each_other() -> None:
    files = ("x/a.wav", "y/a.mp3", "z/a.wav", "w/a.wav", "b.wav")
    names = [target.name for target in _targets(files, Path("out"), ".srt") if target]
    assert names == ["a.srt", "a.mp3.srt", "a.wav.srt", "a.wav-2.srt", "b.srt"]
    assert _targets(files, None, ".srt") == [None] * 5


def test_duration(tmp_path: Path) -> None:
    assert duration(str(make_wav(tmp_path / "a.wav", 0.5, 0.25))) == 0.75
    assert duration(str(tmp_path / "missing.wav")) is None
