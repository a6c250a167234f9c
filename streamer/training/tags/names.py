"""Which label a name in somebody's data means: an AudioSet name or id, an ESC-50 class, their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from streamer.errors import StreamerError
from streamer.labels import Label
from streamer.resources import nearest
from streamer.tagging.detector import SILENCE
from streamer.tagging.labels import by_id, by_name
from streamer.training.sounds import MAKERS

ESC50 = {
    "dog": "Dog", "rooster": "Chicken, rooster", "pig": "Pig", "cow": "Cattle, bovinae", "frog": "Frog",
    "cat": "Cat", "hen": "Cluck", "insects": "Insect", "sheep": "Sheep", "crow": "Crow", "rain": "Rain",
    "sea_waves": "Waves, surf", "crackling_fire": "Fire", "crickets": "Cricket", "chirping_birds": "Bird",
    "water_drops": "Drip", "wind": "Wind", "pouring_water": "Pour", "toilet_flush": "Toilet flush",
    "thunderstorm": "Thunderstorm", "crying_baby": "Baby cry, infant cry", "sneezing": "Sneeze",
    "clapping": "Clapping", "breathing": "Breathing", "coughing": "Cough", "footsteps": "Walk, footsteps",
    "laughing": "Laughter", "brushing_teeth": "Toothbrush", "snoring": "Snoring",
    "drinking_sipping": "Gurgling",
    "door_wood_knock": "Knock", "mouse_click": "Mouse", "keyboard_typing": "Computer keyboard",
    "door_wood_creaks": "Creak", "can_opening": "Burst, pop", "washing_machine": "Mechanisms",
    "vacuum_cleaner": "Vacuum cleaner", "clock_alarm": "Alarm clock", "clock_tick": "Tick-tock",
    "glass_breaking": "Shatter", "helicopter": "Helicopter", "chainsaw": "Chainsaw", "siren": "Siren",
    "car_horn": "Vehicle horn, car horn, honking", "engine": "Engine", "train": "Train",
    "church_bells": "Church bell", "airplane": "Fixed-wing aircraft, airplane", "fireworks": "Fireworks",
    "hand_saw": "Sawing",
}  # fmt: skip
"""One AudioSet name for each ESC-50 class."""

SPEECH = "Speech"
LABELS: tuple[str, ...] = tuple(sorted({SPEECH, SILENCE, *ESC50.values(), *MAKERS}))
"""What the bundled model hears."""


def label_of(name: str) -> str:
    """The one of LABELS that a recording's label means: an ESC-50 class, or one of LABELS itself.

    Raises StreamerError for anything else.
    """
    found = ESC50.get(name, name)
    if found not in LABELS:
        raise StreamerError(
            f"expected an ESC-50 class or one of the {len(LABELS)} sounds of the recipe as a label, "
            f"found {name!r}.{nearest(name, [*ESC50, *LABELS])}"
        )
    return found


def known_label(name: str, rename: Mapping[str, str] | None = None) -> Label | None:
    """The label that a name in data means; None for one that AudioSet has not.

    `rename` (a name in the data -> another) goes first; then AudioSet's names in any case and with
    underscores for spaces, its ids (`/m/0bt9lr`), and the classes of ESC-50.
    """
    text = name.strip()
    return _known((rename or {}).get(text, text).strip())


@lru_cache(maxsize=4096)
def _known(text: str) -> Label | None:
    esc = ESC50.get(text.casefold().replace(" ", "_"))
    return by_name(text) or by_name(text.replace("_", " ")) or by_id(text) or (by_name(esc) if esc else None)


def own_label(name: str, rename: Mapping[str, str] | None = None) -> Label:
    """A label that AudioSet has not, under the name that the data (or `rename`) gives it."""
    text = name.strip()
    return Label(" ".join((rename or {}).get(text, text).split()), "")


def split_labels(text: str, rename: Mapping[str, str] | None = None) -> list[str]:
    """The names in one cell of a table.

    `;` and `|` separate; so does `,`, but AudioSet's own names hold commas (`Baby cry, infant cry`), so the
    longest runs of parts that are a known name stay together.
    """
    if any(mark in text for mark in ";|"):
        parts = text.replace("|", ";").split(";")
        return [part.strip() for part in parts if part.strip()]
    parts = [part.strip() for part in text.split(",")]
    parts = [part for part in parts if part]
    names = []
    start = 0
    while start < len(parts):
        end = len(parts)
        while end > start + 1 and known_label(", ".join(parts[start:end]), rename) is None:
            end -= 1
        names.append(", ".join(parts[start:end]))
        start = end
    return names


def in_order(found: Sequence[Label]) -> tuple[Label, ...]:
    """Each label once, by name: the order of a head's outputs."""
    return tuple(sorted(set(found), key=lambda label: (label.name.casefold(), label.name)))
