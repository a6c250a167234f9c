from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.labels import Label, audioset
from streamer.training.tags.names import (
    ESC50,
    LABELS,
    in_order,
    known_label,
    label_of,
    own_label,
    split_labels,
)

NAMES = [label.name for label in audioset()]


def test_labels_are_esc50s_or_audiosets() -> None:
    assert label_of("clock_tick") == "Tick-tock"
    assert label_of("Rain") == "Rain"
    with pytest.raises(StreamerError, match=r"(?i)found 'dogg'.*'dog'"):
        label_of("dogg")


def test_every_label_of_the_recipe_is_audiosets() -> None:
    assert all(known_label(name) is not None for name in (*LABELS, *ESC50))
    assert len({label.name for name in ESC50 if (label := known_label(name))}) == len(ESC50)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Dog", "Dog"),
        ("dog", "Dog"),
        (" /m/0bt9lr ", "Dog"),
        ("crying_baby", "Baby cry, infant cry"),
        ("Crying baby", "Baby cry, infant cry"),
        ("smoke_detector,_smoke_alarm", "Smoke detector, smoke alarm"),
    ],
)
def test_a_label_is_found_however_it_is_written(said: str, name: str) -> None:
    label = known_label(said)
    assert label is not None
    assert label.name == name
    assert label.id


def test_what_audioset_has_not_is_ones_own_and_renaming_goes_first() -> None:
    assert known_label("my doorbell") is None
    assert own_label("  my \n doorbell ") == Label("my doorbell", "")
    renamed = known_label("dog_bark", {"dog_bark": "Bark"})
    assert renamed is not None
    assert renamed.name == "Bark"
    assert own_label("x", {"x": "front door"}).name == "front door"


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5), st.sampled_from([",", ", ", ";", "|"]))
def test_cells_of_audiosets_names_come_apart_again(names: list[str], separator: str) -> None:
    """Whatever commas are in the names."""
    assert split_labels(separator.join(names)) == names


@given(st.text())
def test_any_cell_gives_names_without_blanks_around_them(text: str) -> None:
    for name in split_labels(text):
        assert name
        assert name == name.strip()


def test_outputs_are_in_order_of_name_and_each_once() -> None:
    found = in_order([Label("dog"), Label("Ant"), Label("Cat"), Label("Ant")])
    assert [label.name for label in found] == ["Ant", "Cat", "dog"]
