"""Train the sound head on a frozen encoder (Whisper-AT, Gong et al. 2023).

The encoder runs once over windows of recorded sounds, made sounds, speech, and speech over sounds;
the head then learns from the pooled features. Differences to the published recipe, for a few
thousand windows instead of two million: a higher learning rate, fewer epochs, windows of 1.6 to 5 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from streamer.audio.mel import log_mel
from streamer.errors import StreamerError
from streamer.nn.heads import TimeLayerTransformer
from streamer.nn.whisper import Whisper
from streamer.resources import nearest
from streamer.timebase import SAMPLE_RATE, TOKEN
from streamer.training import bars
from streamer.training.augment import mix
from streamer.training.corpus import Pack
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
LABELS: tuple[str, ...] = tuple(sorted({SPEECH, *ESC50.values(), *MAKERS}))

Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Samples with the sounds in them. `fold` 0 belongs to no fold; `clip` ≥ 0 marks a whole test clip."""

    samples: Audio
    labels: tuple[str, ...]
    fold: int = 0
    clip: int = -1


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


def _crop(audio: Audio, n: int, rng: np.random.Generator) -> tuple[Audio, bool]:
    """A random piece of n samples, and whether it holds a fair part of the clip's loudness."""
    if len(audio) < n:
        audio = np.pad(audio, (0, n - len(audio)))
    start = int(rng.integers(0, len(audio) - n + 1))
    piece = audio[start : start + n]
    return piece, bool(_loudest(piece) > 0.2 * _loudest(audio))


def _loudest(audio: Audio) -> float:
    """RMS of the loudest 100 ms."""
    whole = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600)
    return float(np.sqrt((whole**2).mean(axis=1).max()))


def _gain(audio: Audio, rng: np.random.Generator) -> Audio:
    peak = float(np.abs(audio).max()) or 1.0
    return audio * np.float32(10 ** (rng.uniform(-30, -1) / 20) / peak)


def make_windows(
    sounds: Pack, speech: Pack, speech_clips: Sequence[int], rounds: int, seed: int
) -> Iterator[Window]:
    """Each recorded clip whole and in `rounds` random views, alone or under speech; made sounds; speech.

    Whole clips are for tests; training on them as well does no harm, folds keep them apart.
    """
    rng = np.random.default_rng(seed)
    lengths = [n * TOKEN for n in (4, 6, 10, 10, 10)]

    def talk(n: int) -> Audio:
        parts: list[Audio] = []
        while sum(map(len, parts)) < n:
            parts.append(speech.audio(int(rng.choice(speech_clips))))
        return _crop(np.concatenate(parts), n, rng)[0]

    recorded = [(i, clip) for i, clip in enumerate(sounds.clips) if clip.labels]
    for i, clip in recorded:
        name = label_of(clip.labels[0])
        audio = sounds.audio(i)
        whole = np.resize(np.pad(audio, (0, max(0, 5 * SAMPLE_RATE - len(audio)))), 12 * TOKEN)
        yield Window(whole, (name,), clip.fold, i)
        for _ in range(rounds):
            n = int(rng.choice(lengths))
            piece, audible = _crop(audio, n, rng)
            labels: tuple[str, ...] = (name,) if audible else ()
            if rng.random() < 0.4:
                piece = mix(talk(n), piece, float(rng.uniform(-5, 12)), rng)
                labels = (*labels, SPEECH)
            yield Window(_gain(piece, rng), labels, clip.fold)
    background = [sounds.audio(i) for i, clip in enumerate(sounds.clips) if not clip.labels]
    for name, make in MAKERS.items():
        for _ in range(12 * rounds):
            n = int(rng.choice(lengths))
            piece = make(n / SAMPLE_RATE + 0.01, rng)[:n]
            labels = (name,)
            draw = rng.random()
            if draw < 0.35:
                piece, labels = mix(talk(n), piece, float(rng.uniform(-5, 12)), rng), (name, SPEECH)
            elif draw < 0.55 and background:
                piece = mix(
                    piece, background[int(rng.integers(len(background)))], float(rng.uniform(0, 20)), rng
                )
            yield Window(_gain(piece, rng), labels)
    for _ in range(150 * rounds):
        n = int(rng.choice(lengths))
        draw = rng.random()
        noise = background[int(rng.integers(len(background)))] if background else np.zeros(n, np.float32)
        if draw < 0.7:
            piece = talk(n)
            if draw < 0.3:
                piece = mix(piece, noise, float(rng.uniform(5, 25)), rng)
            yield Window(_gain(piece, rng), (SPEECH,))
        else:
            piece = _crop(noise, n, rng)[0] * np.float32(10 ** rng.uniform(-2.5, 0))
            yield Window(piece, ())


@dataclass(slots=True)
class Features:
    """Pooled layers of windows of one length.

    values (N, L, T, D) float16; targets (N, C); fold and clip (N,).
    """

    values: torch.Tensor
    targets: torch.Tensor
    fold: NDArray[np.int64]
    clip: NDArray[np.int64]


@torch.inference_mode()
def extract(
    encoder: Whisper, windows: Sequence[Window], batch: int = 16, progress: bool = True
) -> list[Features]:
    """Run the frozen encoder once over every window, as the daemon will; one `Features` for each length."""
    out = []
    with bars.progress(progress) as bar:
        task = bar.add_task("sound features", total=len(windows))
        for n in sorted({len(w.samples) for w in windows}):
            group = [w for w in windows if len(w.samples) == n]
            values = []
            for i in range(0, len(group), batch):
                mel = np.stack([log_mel(w.samples, encoder.dims.n_mels) for w in group[i : i + batch]])
                with torch.autocast("cpu", torch.bfloat16):
                    layers = encoder.encode(torch.from_numpy(mel), pooled=True).layers
                assert layers is not None
                values.append(layers.half())
                bar.advance(task, len(mel))
            targets = torch.zeros(len(group), len(LABELS))
            for row, w in enumerate(group):
                for name in w.labels:
                    targets[row, LABELS.index(name)] = 1
            fold, clip = np.array([w.fold for w in group]), np.array([w.clip for w in group])
            out.append(Features(torch.cat(values), targets, fold, clip))
    return out


@dataclass(frozen=True, slots=True)
class TagConfig:
    """How the head learns."""

    width: int = 128
    epochs: int = 40
    lr: float = 1e-3
    batch: int = 64
    mixup: float = 0.5
    smoothing: float = 0.02
    weight_decay: float = 1e-2
    seed: int = 0


def fit(
    features: Sequence[Features], config: TagConfig, leave_fold: int | None = None
) -> TimeLayerTransformer:
    """Train a head on everything but one fold. Balanced: windows of rare labels are drawn more often."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    _, n_layer, _, n_state = features[0].values.shape
    head = TimeLayerTransformer(n_layer, n_state, len(LABELS), config.width)
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    count = sum((f.targets.sum(0) for f in features), torch.zeros(len(LABELS)))
    pools = []
    for f in features:
        keep = np.flatnonzero(f.fold != leave_fold) if leave_fold else np.arange(len(f.fold))
        if not len(keep):
            continue
        weight = (f.targets[keep] * (1000 / (count + 10))).sum(1).numpy() + 0.5
        pools.append((f, keep, weight / weight.sum()))
    sizes = np.array([len(keep) for _, keep, _ in pools])
    steps = max(2, config.epochs * int(sizes.sum()) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=steps, pct_start=0.1)
    head.train()
    for _ in range(steps):
        f, keep, weight = pools[int(rng.choice(len(pools), p=sizes / sizes.sum()))]
        rows = torch.from_numpy(rng.choice(keep, config.batch, p=weight))
        x, y = f.values[rows].float(), f.targets[rows]
        if rng.random() < config.mixup:
            other = torch.from_numpy(rng.permutation(len(rows)))
            share = float(rng.beta(10, 10))
            x, y = share * x + (1 - share) * x[other], torch.maximum(y, y[other]) * 0.9
        loss = F.binary_cross_entropy_with_logits(head(x), y * (1 - 2 * config.smoothing) + config.smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head.eval()


@torch.inference_mode()
def scores(head: TimeLayerTransformer, f: Features) -> NDArray[np.float32]:
    """Probabilities (N, C) of every label."""
    out: NDArray[np.float32] = torch.cat([head(x.float()).sigmoid() for x in f.values.split(256)]).numpy()
    return out


LEAST_PRECISION = 0.5
"""A threshold below which more than half of what it reports is wrong is no threshold."""


@dataclass(frozen=True, slots=True)
class Folds:
    """Cross-validation: accuracy of each fold, and out-of-fold probabilities with their targets, (N, C)."""

    accuracies: list[float]
    scores: NDArray[np.float32]
    targets: NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        """Mean over the folds; not a number where no clip was for testing."""
        return float(np.mean(self.accuracies)) if self.accuracies else float("nan")


def cross_validate(features: Sequence[Features], config: TagConfig, test: set[int], folds: int = 5) -> Folds:
    """Accuracy on the whole clips `test` (indices of the pack) by the data's own folds, among their labels.

    Raises StreamerError where no window belongs to a fold.
    """
    if not any((f.fold > 0).any() for f in features):
        raise StreamerError(
            f"expected recordings of sounds with a 'fold' from 1 to {folds} in their manifest, found none: "
            "without them there is nothing to measure on or to choose thresholds by"
        )
    right: list[float] = []
    all_scores, all_targets = [], []
    labels = sorted(
        {int(t.argmax()) for f in features for t, c in zip(f.targets, f.clip, strict=True) if c in test}
    )
    for fold in range(1, folds + 1):
        if not any((f.fold == fold).any() for f in features):
            continue
        head = fit(features, config, leave_fold=fold)
        hits = total = 0
        for f in features:
            rows = np.flatnonzero(f.fold == fold)
            if not len(rows):
                continue
            got = scores(head, Features(f.values[rows], f.targets[rows], f.fold[rows], f.clip[rows]))
            all_scores.append(got)
            all_targets.append(f.targets[rows].numpy())
            for s, t, c in zip(got, f.targets[rows], f.clip[rows], strict=True):
                if c in test:
                    hits += labels[int(s[labels].argmax())] == int(t.argmax())
                    total += 1
        if total:
            right.append(hits / total)
    return Folds(right, np.concatenate(all_scores), np.concatenate(all_targets))


def choose_thresholds(
    got: NDArray[np.float32],
    targets: NDArray[np.float32],
    precision: float = 0.9,
    low: float = 0.25,
    high: float = 0.9,
) -> list[float]:
    """For each label the lowest threshold with that precision on held-out windows, in steps of 0.001.

    Where none within the bounds reaches it: the best by F0.5 (precision counts twice as much as recall) of
    those with LEAST_PRECISION, else `high`. 0.5 for a label with fewer than three examples.
    """
    grid = np.round(np.arange(round(1000 * low), round(1000 * high) + 1) / 1000, 3)
    out = []
    for c in range(got.shape[1]):
        if targets[:, c].sum() < 3:
            out.append(0.5)
            continue
        order = np.argsort(got[:, c])
        first = np.searchsorted(got[order, c].astype(np.float64), grid)
        hits = np.append(np.cumsum(targets[order[::-1], c])[::-1], 0.0)[first]
        flagged = len(order) - first
        reached = np.flatnonzero((flagged > 0) & (hits >= precision * flagged))
        if len(reached):
            out.append(float(grid[reached[0]]))
            continue
        right, found = hits / np.maximum(flagged, 1), hits / targets[:, c].sum()
        merit = 1.25 * right * found / np.maximum(0.25 * right + found, 1e-9)
        merit[right < LEAST_PRECISION] = 0
        out.append(float(grid[merit.argmax()]) if merit.max() > 0 else high)
    return out
