"""``streamer eval live``."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.cli.eval_live import set_ups
from streamer.errors import ConfigError
from tests.cli.tiny import make_wav

pytest.importorskip("jiwer")
pytest.importorskip("matplotlib")
pytest.importorskip("whisper.normalizers")

KNOWN = {"path": "0.wav", "text": "yes", "words": [["yes", 0.4, 0.9]]}
UNKNOWN = {"path": "1.wav", "text": "no"}


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    folder = tmp_path / "talk"
    folder.mkdir()
    for row in (KNOWN, UNKNOWN):
        make_wav(folder / str(row["path"]), 0.2, 0.8, 0.2)
    (folder / "manifest.jsonl").write_text(json.dumps(KNOWN) + "\n" + json.dumps(UNKNOWN) + "\n")
    return folder


def call(tiny: Path, *arguments: object) -> Result:
    fixed = ("--model", str(tiny), "--set", "model.threads=1", "--set", "model.precision=fp32")
    return CliRunner().invoke(main, ["eval", "live", *map(str, arguments), *fixed])


def test_set_ups_side_by_side(tiny: Path, talk: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    result = call(tiny, talk, "--vary", "live.policy=agreement,off", "--json", out, "--picture", picture)
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines()]
    assert rows == ["set", "policy=agreement", "policy=off"]
    assert "Word times of 1 of 2 recordings are the model's own" in result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    content = json.loads(out.read_text())
    assert (content["recordings"], content["word_times_of_the_model"]) == (2, 1)
    for row, policy in zip(content["rows"], ("agreement", "off"), strict=True):
        assert row["settings"]["live"]["policy"] == policy
        assert row["words"]["length"] == 2
        assert row["seconds"] == pytest.approx(2 * (1.2 + 0.5 + 0.4 + 1.0))
        assert len(row["ends"]) == 2
        assert row["flicker"]["broken"] == 0
        assert row["passes"] >= row["partials"] + 2


def test_real_time_goes_through_the_threads(tiny: Path, talk: Path, tmp_path: Path) -> None:
    result = call(tiny, talk, "--speed", "real", "--limit", "1", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert (content["speed"], content["recordings"], content["word_times_of_the_model"]) == ("real", 1, 0)
    assert "the model's own" not in result.stderr
    (row,) = content["rows"]
    assert row["set_up"] == "default"
    assert len(row["ends"]) == 1


def test_names_of_set_ups_say_what_differs(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[live]\nagree = 3\n")
    found = set_ups(
        (str(tmp_path / "mine.toml"), "captions"), None, (), ("live.step=0.4,0.8", "live.agree=2,4")
    )
    assert list(found) == [
        f"{base} step={step} agree={agree}"
        for base in ("mine", "captions")
        for step in ("0.4", "0.8")
        for agree in ("2", "4")
    ]
    assert found["mine step=0.4 agree=4"].live.step == 0.4
    assert found["mine step=0.4 agree=4"].live.agree == 4
    assert list(set_ups((), None, ("live.agree=5",), ())) == ["default"]
    assert set_ups((str(tmp_path / "mine.toml"),), None, (), ())["mine"].live.agree == 3


def test_mistakes_in_set_ups() -> None:
    for wrong in ("live.policy", "=a", "live.policy=off,,agreement"):
        with pytest.raises(click.BadParameter, match=r"live\.policy=agreement,off"):
            set_ups((), None, (), (wrong,))
    with pytest.raises(ConfigError, match=r"live\.polizy"):
        set_ups((), None, (), ("live.polizy=off,agreement",))


def test_mistakes_are_told_in_a_sentence(tiny: Path, talk: Path, tmp_path: Path) -> None:
    (talk / "manifest.jsonl").write_text('{"path": "0.wav", "text": "yes", "words": [["yes"]]}\n')
    for arguments, message, status in (
        ((tmp_path / "nowhere",), "none of them at", 1),
        ((talk,), "line 1: expected a JSON object", 1),
        ((talk, "--vary", "live.step=0.3"), "multiple of 0.4", 2),
    ):
        result = call(tiny, *arguments)
        assert result.exit_code == status, result.output
        assert message in result.stderr.replace("\n", " ")
        assert "Traceback" not in result.stderr
