"""``streamer train words`` as a person calls it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from streamer.asr.ngram import WordModel
from streamer.cli import main


def test_texts_become_a_word_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("open the pod bay doors\nopen the doors\n", encoding="utf-8")
    out = tmp_path / "words.safetensors"
    command = ["train", "words", f"{tmp_path / 'a.txt'}=3", "--out", str(out), "--least-trigram", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert WordModel.load(out).words == [b"bay", b"doors", b"open", b"pod", b"the"]


def test_wrong_files_and_weights_are_told(tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["train", "words", str(tmp_path / "no.txt"), "--out", "x"])
    assert missing.exit_code == 2
    assert "expected a text file, found none" in missing.output
    wrong = CliRunner().invoke(main, ["train", "words", "a.txt=often", "--out", "x"])
    assert "FILE=WEIGHT with a whole number" in wrong.output
