"""Graphs in a cache: whole or not there, of the latest state, and not for ever."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.backends.kept import ABANDONED, DESCRIPTION, MOST, Kept, Place, find, keep
from streamer.backends.onnx import OnnxNetwork, written
from streamer.backends.stored import StoredModel, read_stored
from tests.tiny import save_tiny

HERE = Place("a/model\n\nauto", "one state")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    return read_stored(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


def some(model: StoredModel, place: Place = HERE, content: bytes = b"a graph") -> bool:
    return keep(place, model, {"encoder": lambda: content})


def test_a_model_and_its_graphs_come_back(model: StoredModel) -> None:
    graphs = written(model)
    assert find(HERE) is None
    assert keep(HERE, model, graphs)
    kept = find(HERE)
    assert kept is not None
    assert kept.model == model
    found = {name: path.read_bytes() for name, path in kept.graphs.items()}
    assert found == {name: graph() for name, graph in graphs.items() if not isinstance(graph, Path)}
    assert set(found) == {"encoder", "tags", "ctc", "follower"}
    OnnxNetwork(kept.model, 1, kept=kept.graphs)


def cut(folder: Path) -> None:
    with (folder / "encoder.onnx").open("r+b") as file:
        file.truncate(3)


def flip(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"A graph")


def lose(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()


def garble(folder: Path) -> None:
    (folder / DESCRIPTION).write_text("{")


def empty(folder: Path) -> None:
    (folder / DESCRIPTION).write_text("{}")


def misunderstand(folder: Path) -> None:
    about = json.loads((folder / DESCRIPTION).read_text())
    about["model"]["info"]["dims"]["n_mels"] = "eighty"
    (folder / DESCRIPTION).write_text(json.dumps(about))


@pytest.mark.parametrize("damage", [cut, flip, lose, garble, empty, misunderstand])
def test_what_is_damaged_is_not_found_and_may_be_written_again(
    damage: Callable[[Path], None], model: StoredModel
) -> None:
    assert some(model)
    damage(HERE.path)
    assert find(HERE) is None
    assert some(model)
    assert isinstance(find(HERE), Kept)


def test_an_earlier_state_of_a_model_goes_and_others_stay(model: StoredModel, cache: Path) -> None:
    other, later = Place("another\n\nauto", HERE.key), Place(HERE.whose, "another state")
    for place in (HERE, other, later):
        assert some(model, place)
    assert find(HERE) is None
    assert find(other) is not None
    assert find(later) is not None
    assert {path.parent for path in cache.rglob(DESCRIPTION)} == {other.path, later.path}


def test_those_used_longest_ago_go(model: StoredModel) -> None:
    places = [Place(f"model {i}", "") for i in range(MOST + 1)]
    for age, place in enumerate(places[:MOST]):
        assert some(model, place)
        os.utime(place.path, (time.time() - 1000 + age,) * 2)
    assert find(places[0]) is not None  # which is using it
    assert some(model, places[MOST])
    assert [i for i, place in enumerate(places) if find(place) is None] == [1]


def test_what_nobody_finished_goes_after_a_while(model: StoredModel, cache: Path) -> None:
    assert some(model)
    folders = [HERE.path.with_name(f".half-{i}") for i in range(2)]
    for folder in folders:
        shutil.copytree(HERE.path, folder)
    os.utime(folders[0], (time.time() - 2 * ABANDONED,) * 2)
    assert some(model)
    assert [folder.exists() for folder in folders] == [False, True]


def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(
    model: StoredModel, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> bytes:
        raise OSError(28, "No space left on device")

    assert not keep(HERE, model, {"encoder": lambda: b"some", "step": full})
    assert "No space left on device" in caplog.text
    assert find(HERE) is None
    assert list((cache / "graphs").iterdir()) == []
