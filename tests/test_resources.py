"""Data is found in a checkout, in an installed wheel, and where the user keeps fetched models."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer import resources
from streamer.errors import ModelError, StreamerError

Patch = pytest.MonkeyPatch


@pytest.fixture
def home(tmp_path: Path, monkeypatch: Patch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("STREAMER_MODELS", str(folder))
    return folder


def shipped(tmp_path: Path, monkeypatch: Patch, package: str) -> Path:
    """A package at `package` with a model folder beside it."""
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / package)
    models = tmp_path / package / "_data" / "models" if package == "site/streamer" else tmp_path / "models"
    (models / "bundled").mkdir(parents=True)
    (models / "bundled" / "model.toml").touch()
    (models / "rubbish").mkdir()
    return models


@pytest.mark.parametrize("package", ["streamer", "site/streamer"])
def test_models_that_ship_are_found_by_name(
    tmp_path: Path, home: Path, monkeypatch: Patch, package: str
) -> None:
    models = shipped(tmp_path, monkeypatch, package)
    assert resources.models_dir() == models
    assert resources.models() == {"bundled": models / "bundled"}
    assert resources.find_model("bundled") == models / "bundled"


def test_a_wheel_prefers_its_own_data(tmp_path: Path, monkeypatch: Patch) -> None:
    inside = shipped(tmp_path, monkeypatch, "site/streamer")
    (tmp_path / "site" / "models").mkdir()
    assert resources.models_dir() == inside


def test_missing_data_is_an_error_that_names_both_places(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "streamer")
    with pytest.raises(StreamerError, match=r"_data.*models.*install it again"):
        resources.models_dir()


def test_fetched_models_and_paths_are_found(tmp_path: Path, home: Path, monkeypatch: Patch) -> None:
    shipped(tmp_path, monkeypatch, "streamer")
    (home / "tiny.en.pt").touch()
    (home / "mine").mkdir()
    (home / "mine" / "config.json").touch()
    elsewhere = tmp_path / "x.safetensors"
    elsewhere.touch()
    assert resources.find_model("tiny.en") == home / "tiny.en.pt"
    assert resources.find_model("mine") == home / "mine"
    assert resources.find_model(elsewhere) == elsewhere
    assert set(resources.models()) == {"bundled", "tiny.en", "mine"}


def test_tag_heads_are_found_beside_models_and_are_none(
    tmp_path: Path, home: Path, monkeypatch: Patch
) -> None:
    models = shipped(tmp_path, monkeypatch, "streamer")
    for folder in (models / "animals", home / "alarms"):
        folder.mkdir()
        (folder / "head.toml").touch()
    (home / "tiny_ori.pth").touch()
    (home / "notes.txt").touch()
    assert resources.heads() == {
        "animals": models / "animals",
        "alarms": home / "alarms",
        "tiny_ori": home / "tiny_ori.pth",
    }
    assert set(resources.models()) == {"bundled"}
    assert resources.find_head("alarms") == resources.find_head(home / "alarms") == home / "alarms"
    assert resources.find_head("tiny_ori") == resources.find_head("tiny_ori.pth") == home / "tiny_ori.pth"
    with pytest.raises(ModelError, match=r"\(animals, alarms, tiny_ori\).*no 'alarm'.*Did you mean 'alarms'"):
        resources.find_head("alarm")
    with pytest.raises(ModelError, match=r"bundled is none"):
        resources.find_head(models / "bundled")


def test_unknown_names_list_what_there_is(tmp_path: Path, home: Path, monkeypatch: Patch) -> None:
    shipped(tmp_path, monkeypatch, "streamer")
    with pytest.raises(ModelError, match=r"'bundeld'.*\(bundled\).*Did you mean 'bundled'"):
        resources.find_model("bundeld")
    with pytest.raises(ModelError, match="expected a model at"):
        resources.find_model(tmp_path)


def test_the_user_folder_follows_xdg(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.delenv("STREAMER_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert resources.user_models_dir() == tmp_path / ".local/share/streamer/models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert resources.user_models_dir() == tmp_path / "xdg/streamer/models"


def test_nearest_ignores_case_and_keeps_silent_about_strangers() -> None:
    assert resources.nearest("dog", ["Dog", "Cat"]) == " Did you mean 'Dog'?"
    assert resources.nearest("zzz", ["Dog", "Cat"]) == ""
