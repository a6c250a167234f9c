"""``streamer train tags``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.cli.train_tags import HEADS
from streamer.config import ModelConfig
from streamer.engine import Request, load_engine
from streamer.nn import heads
from streamer.nn.checkpoint import load
from streamer.nn.head_checkpoint import load_head
from tests.cli.tiny import make_model
from tests.tiny_speech import save_speech
from tests.training.corpora import tone, write_wav
from tests.training.tags.tools import write_folders

QUICK = """
encoder_precision = "fp32"
folds = 2
[windows]
views = 1
lengths = [1.6]
talk = 0
empty = 4
[fit]
epochs = 2
width = 16
[fit.draws]
batch = 8
[add]
views = 1
negatives = 1
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_model(tmp_path / "model")
    write_folders(tmp_path / "data", 4)
    (tmp_path / "data" / "Rain" / "broken.wav").write_bytes(b"nonsense")
    (tmp_path / "quick.toml").write_text(QUICK)
    return tmp_path


def call(*arguments: str) -> Result:
    fixed = ["train", "tags", "--config", "quick.toml", "--encoder", "model"]
    return CliRunner().invoke(main, [*fixed, *arguments])


def test_a_head_from_folders_and_one_sound_more(place: Path) -> None:
    result = call("--data", "data", "--out", "mine", "--head", "wa-tr")
    assert result.exit_code == 0, result.output
    assert result.stdout == "mine\n"
    assert "left out 1:" in result.stderr
    assert "broken.wav" in result.stderr
    assert "data accuracy:" in result.stderr
    assert "mine.work/report.html" in result.stderr
    assert "--set model.tags=mine" in result.stderr
    head = load_head(place / "mine")
    assert (head.info.tags.head, head.info.tags.width) == ("wa-tr", 16)
    assert (place / "mine.work" / "report.html").exists()
    assert list((place / "cache" / "streamer" / "features").glob("*/about.json"))

    clips = [str(write_wav(place / f"ring{i}.wav", tone(2.0, 1200 + i))) for i in range(3)]
    result = call("--add", "my doorbell", *clips, "--to", "mine", "--out", "more")
    assert result.exit_code == 0, result.output
    assert result.stdout == "more\n"
    assert "my doorbell: 3 recordings" in result.stderr
    model = load(place / "model", place / "more")
    assert [label.name for label in model.labels] == ["Dog", "Rain", "my doorbell"]


def test_heads_to_choose_from_are_those_that_there_are() -> None:
    assert tuple(heads.HEADS) == HEADS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --data, or --add LABEL"),
        (("clip.wav",), "expected --data, or --add LABEL"),
        (("--add", "x"), "expected --add LABEL with recordings (CLIPS) and a head (--to)"),
        (("--add", "x", "clip.wav"), "a head (--to)"),
        (("--add", "x", "clip.wav", "--to", "nowhere"), "expected a tag head"),
        (("--add", "x", "clip.wav", "--to", "model", "--data", "data"), "without --data"),
        (("--data", "nowhere"), "found nothing at nowhere"),
        (("--data", "data", "--encoder", "nowhere"), "no model 'nowhere'"),
        (("--data", "data", "--config", "broken.toml"), "Did you mean 'epochs'?"),
    ],
)
def test_mistakes_are_told_in_a_sentence(place: Path, arguments: tuple[str, ...], message: str) -> None:
    (place / "broken.toml").write_text("[fit]\nepoch = 3\n")
    result = call(*arguments, "--out", "x")
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_launch_of_several_processes_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = call("--data", "data", "--out", "x")
    assert result.exit_code != 0
    assert "a head is trained in one" in result.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_head_on_a_wav2vec2(place: Path) -> None:
    """Its encoder has no words, and hears sounds with the head."""
    save_speech(place / "w2v2", kind="Model")
    result = call("--encoder", "w2v2", "--data", "data", "--out", "mine", "--head", "wa-mlp")
    assert result.exit_code == 0, result.output
    assert load_head("mine").info.encoder.n_state == 32
    engine = load_engine(ModelConfig(name="w2v2", tags="mine", threads=1))
    (told,) = engine.run([Request(tone(1.6, 300), windows=((0, 4),))])
    assert told.scores.shape == (1, 2)
    assert engine.encoder_passes == 1
