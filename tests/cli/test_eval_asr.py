"""``streamer eval asr``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from tests.cli.tiny import make_wav

pytest.importorskip("jiwer")
pytest.importorskip("whisper.normalizers")

ROWS = (
    {"path": "0.wav", "text": "YES", "speaker": "ann", "split": "test"},
    {"path": "1.wav", "text": "go on", "speaker": "bob", "split": "test"},
    {"path": "2.wav", "text": "no", "speaker": "bob", "split": "train"},
)


def write_set(folder: Path, rows: tuple[dict[str, Any], ...] = ROWS) -> Path:
    folder.mkdir()
    for row in rows:
        make_wav(folder / row["path"], 0.3, 0.9, 0.6)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_set(tmp_path / "talk")


def call(tiny: Path, *arguments: object) -> Result:
    fixed = ("--model", str(tiny), "--set", "model.threads=1", "--set", "model.precision=fp32")
    return CliRunner().invoke(main, ["eval", "asr", *map(str, arguments), *fixed])


def cells(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines() if line]


def test_a_table_on_standard_output_and_everything_in_a_file(tiny: Path, talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = call(tiny, talk, "--split", "test", "--path", "offline", "--path", "live", "--json", out)
    assert result.exit_code == 0, result.output
    head, offline, live = cells(result)
    assert head[:6] == ["set", "path", "decoder", "utterances", "words", "wer"]
    assert offline[:5] == ["talk", "offline", "attention", "2", "3"]
    assert live[:5] == ["talk", "live", "auto", "2", "3"]
    content = json.loads(out.read_text())
    assert content["model"] == str(tiny)
    for row, shown in zip(content["rows"], (offline, live), strict=True):
        errors = [one["errors"] for one in row["utterance_errors"]]
        assert sum(errors) == row["sub"] + row["del"] + row["ins"]
        assert row["wer"] == pytest.approx(100 * sum(errors) / 3)
        assert shown[5] == f"{row['wer']:.1f}"
        assert [one["reference"] for one in row["utterance_errors"]] == ["yes", "go on"]
        assert row["seconds"] == pytest.approx(3.6)
    assert content["rows"][0]["passes"] == 2


def test_the_worst_are_shown_with_both_texts(tiny: Path, talk: Path) -> None:
    result = call(tiny, talk, "--show", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n  said   ") == result.stdout.count("\n  heard  ") == 2


def test_sets_and_speakers_are_chosen(tiny: Path, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("bob\n\n")
    for arguments in (("--speakers", "bob"), ("--held-out", tmp_path / "few.txt")):
        assert [row[3] for row in cells(call(tiny, talk, *arguments))[1:]] == ["2"]
    assert [row[3] for row in cells(call(tiny, talk, talk, "--limit", "1"))[1:]] == ["1", "1"]


def test_the_recipes_held_out_speakers(tiny: Path, tmp_path: Path) -> None:
    rows = tuple({"path": f"{i}.wav", "text": "no", "speaker": f"p{i // 2:02}"} for i in range(22))
    held = write_set(tmp_path / "librispeech-dev-clean", rows)
    other = write_set(tmp_path / "other")
    result = call(tiny, held, other, "--held-out", "bundled", "--split", "test")
    assert [row[3] for row in cells(result)[1:]] == ["4", "2"]  # every tenth speaker; the other set's split
    result = call(tiny, other, "--held-out", "bundled")
    assert result.exit_code == 2
    assert "found only: other" in result.stderr


def test_noise_and_telephone_change_what_is_heard(tiny: Path, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    make_wav(tmp_path / "noise" / "hum.wav", 0, 2)
    arguments = ("--degrade", "telephone", "--noise", tmp_path / "noise", "--snr", "0")
    result = call(tiny, talk, "--json", tmp_path / "o.json", "--path", "live", *arguments)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "o.json").read_text())
    assert (content["degrade"], content["snr"]) == ("telephone", 0)


def test_recordings_that_cannot_be_read_are_left_out_and_told(tiny: Path, talk: Path) -> None:
    (talk / "1.wav").write_bytes(b"nothing")
    (talk / "2.wav").unlink()
    result = call(tiny, talk)
    assert result.exit_code == 1
    assert cells(result)[1][3] == "1"
    assert result.stderr.count("Left out: ") == 2


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (("nowhere",), "none of them at nowhere", 1),
        (("talk", "--speakers", "eve"), "of speaker eve, found only: ann, bob", 1),
        (("talk", "--speakers", "ann", "--held-out", "x"), "give one of them", 2),
        (("talk", "--held-out", "nowhere.txt"), "expected 'bundled' or a file", 2),
        (("talk", "--compare", "openai-whisper"), "reads its own checkpoints only", 2),
        (("talk", "--decoder", "ctc"), "has no CTC branch", 2),
        (("talk", "--noise", "nowhere"), "give both", 2),
        (("talk", "--snr", "3"), "give both", 2),
        (("talk", "--noise", "nowhere", "--snr", "5"), "found none in nowhere", 1),
        (("talk", "--json", "no/such/folder.json"), "cannot write no/such/folder.json", 1),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tiny: Path,
    talk: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
    status: int,
) -> None:
    monkeypatch.chdir(talk.parent)
    result = call(tiny, *arguments)
    assert result.exit_code == status, result.output
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr
