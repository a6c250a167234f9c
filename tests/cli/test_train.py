"""``streamer train``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.nn.checkpoint import load
from streamer.training.corpus import Pack
from tests.cli.conftest import Run
from tests.training.corpora import CONFIG, TEXTS, write_data, write_teacher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_data(tmp_path / "data")
    write_teacher(tmp_path / "teacher.safetensors")
    (tmp_path / "my.toml").write_text(CONFIG)
    return tmp_path


def call(place: Path, stage: str, *more: str) -> Result:
    fixed = ("--work", str(place / "work"), "--config", str(place / "my.toml"))
    return CliRunner().invoke(main, ["train", "bundled", "--stage", stage, *fixed, *more])


def test_packing_says_so_on_standard_error_and_can_be_repeated(place: Path) -> None:
    for _ in range(2):
        result = call(place, "pack", "--data", str(place / "data"))
        assert result.exit_code == 0, result.output
        assert result.stdout == ""
        assert "stage pack" in result.stderr
    assert [clip.text for clip in Pack(place / "work" / "speech").clips] == list(TEXTS)
    assert len(Pack(place / "work" / "sounds")) == 5


def test_all_stages_in_one_process_give_a_model(place: Path, streamer: Run) -> None:
    done = streamer(
        *("train", "bundled", "--data", str(place / "data"), "--teacher", str(place / "teacher.safetensors")),
        *("--work", "work", "--out", "mine", "--config", "my.toml", "--steps", "2", "--seed", "4"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "mine"
    assert "streamer run --model mine" in done.stderr
    loaded = load(place / "mine")
    assert loaded.tags is not None
    assert loaded.ctc is not None
    assert (place / "work" / "speech-run" / "log.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("stage", "arguments", "message", "status"),
    [
        ("pack", (), "the stage pack needs --data", 2),
        ("all", ("--data", "data"), "the stage speech needs --teacher or --from", 2),
        ("export", ("--teacher", "teacher.safetensors"), "the stage export needs --out", 2),
        ("pack", ("--data", "nowhere"), "expected a folder of data sets, found none at", 2),
        ("speech", ("--teacher", "nowhere.pt"), "streamer models pull base", 2),
        ("speech", ("--from", "nowhere"), "nowhere", 1),
        ("export", ("--teacher", "teacher.safetensors", "--from", "x", "--out", "o"), "found both", 2),
        ("pack", ("--data", "."), "manifest.jsonl with one JSON object a line", 1),
        ("vocabulary", (), "run the stages pack and voices first", 1),
        ("vocabulary", ("--config", "broken.toml"), "Did you mean 'tts_weight'?", 2),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    arguments: tuple[str, ...],
    message: str,
    status: int,
) -> None:
    monkeypatch.chdir(place)
    Path("broken.toml").write_text("tts_wieght = 1.0\n")
    result = call(place, stage, *arguments)
    assert result.exit_code == status
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_only_training_is_shared_among_processes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = call(place, "pack", "--data", str(place / "data"))
    assert result.exit_code == 2
    said = result.stderr.replace("\n", " ")
    assert "expected --stage speech in a launch of 2 processes, found pack" in said


def test_a_missing_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(place, "pack", "--data", str(place / "data"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    result = call(place, "vocabulary")
    assert result.exit_code == 1
    assert "streamer[train]" in result.stderr
    assert not (place / "work" / "vocab.tiktoken").exists()
    monkeypatch.undo()
    assert call(place, "vocabulary").exit_code == 0


@pytest.mark.parametrize("stage", ["voices", "all"])
def test_missing_voices_are_named(place: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    config = (place / "my.toml").read_text().replace("tts_sentences = 0", "tts_sentences = 2")
    (place / "my.toml").write_text(config)
    monkeypatch.setenv("PATH", str(place))
    paths = ("--data", str(place / "data"), "--teacher", str(place / "teacher.safetensors"), "--out", "out")
    result = call(place, stage, *paths)
    assert result.exit_code == 1
    assert "apt-get install flite espeak-ng" in result.stderr.replace("\n", " ")
