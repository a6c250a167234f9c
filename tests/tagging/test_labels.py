"""Label lists: AudioSet's own, a model's, and what a person may have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import ConfigError, ModelError
from streamer.tagging.labels import (
    Label,
    audioset,
    by_id,
    by_name,
    read_labels,
    resolve,
    suggestions,
    write_labels,
)


def test_audioset_is_complete_and_in_order() -> None:
    labels = audioset()
    assert len(labels) == len(set(labels)) == 527
    assert labels[0] == Label("Speech", "/m/09x0r")
    assert labels[74] == Label("Dog", "/m/0bt9lr")
    assert labels[-1].name == "Field recording"
    assert Label("Chicken, rooster", "/m/09b5t") in labels  # a name with a comma stays one name
    assert audioset() is labels


def test_by_name_and_id() -> None:
    dog = Label("Dog", "/m/0bt9lr")
    assert by_name(" dOG ") == by_id("/m/0bt9lr") == dog
    assert by_name("Doggo") is None
    assert by_id("/m/nothing") is None
    assert by_id("", [Label("mine")]) is None
    assert by_name("dog", [Label("cat")]) is None


def test_resolve_takes_names_and_ids() -> None:
    assert resolve("siren", audioset()).name == "Siren"
    assert resolve("/m/03kmc9", audioset()).name == "Siren"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Sirne", "Siren"), ("barkk", "Bark"), ("rooster", "Chicken, rooster"), ("smoke alarm", "Smoke d")],
)
def test_resolve_suggests_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=meant) as caught:
        resolve(typed, audioset())
    assert repr(typed) in str(caught.value)


def test_nothing_alike_is_said() -> None:
    assert suggestions("qqqqqq", audioset()) == []
    assert suggestions("", audioset()) == []
    with pytest.raises(ConfigError, match="no label is like it"):
        resolve("qqqqqq", audioset())


def test_a_models_list_comes_back_as_written(tmp_path: Path) -> None:
    labels = (*audioset(), Label('my "own", odd one'))
    write_labels(tmp_path / "labels.csv", labels)
    assert read_labels(tmp_path / "labels.csv") == labels


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        ("index,mid\n", "index"),
        ("name,id\n", "none"),
        ("name,id\nDog\n", "row 2"),
        ("name,id\n,/m/1\n", "row 2"),
        ("name,id\nDog,\ndog,\n", "twice"),
        ('name,id\n"Dog\n', "cannot read"),
    ],
)
def test_malformed_lists_are_refused(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=found):
        read_labels(path)


def test_a_missing_list_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        read_labels(tmp_path / "labels.csv")
