from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.decode import decode_file
from streamer.errors import ConfigError, ModelError, StreamerError
from streamer.labels import Label
from streamer.nn.definition import HeadInfo, TagsInfo
from streamer.nn.head_checkpoint import load_head, save_head
from streamer.nn.heads import HEADS, make_head
from streamer.training.tags.add import add_label, choose_threshold, fit_row, leave_out, read_target, with_row
from streamer.training.tags.config import AddConfig
from streamer.training.tags.encoders import FrozenEncoder, load_encoder
from streamer.training.tags.replay import Replay, read_replay, write_replay
from tests.cli.tiny import make_model
from tests.training.corpora import noise, tone, write_wav
from tests.training.tags.tools import encoder

LABELS = (Label("Dog", "/m/0bt9lr"), Label("Rain", "/m/06mb1"))
QUICK = AddConfig(views=2, negatives=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A head that reads the tiny encoder, and recordings of a doorbell."""
    write_target(tmp_path / "head", encoder())
    for i in range(5):
        ring = np.concatenate([tone(0.4, 1500 + 10 * i), tone(0.6, 1100 + 10 * i)])
        write_wav(tmp_path / "clips" / f"{i}.wav", np.tile(ring, 2) + noise(2.0, i, 0.01))
    return tmp_path


def write_target(folder: Path, frozen: FrozenEncoder, kind: str = "tl-tr") -> None:
    torch.manual_seed(0)
    head = make_head(kind, 2, 64, len(LABELS), 32)
    about = TagsInfo(threshold=0.4, thresholds={"Rain": 0.7})
    info = HeadInfo(name="mine", data="two sounds", encoder=frozen.info, tags=about)
    save_head(folder, info, head, LABELS)


def clips(place: Path) -> list[Path]:
    return sorted((place / "clips").glob("*.wav"))


def test_a_label_is_added_and_the_others_are_what_they_were(place: Path) -> None:
    before = load_head(place / "head")
    target = read_target(place / "head")
    added = add_label("my doorbell", clips(place), target, place / "new", QUICK, encoder=encoder())
    after = load_head(place / "new")
    assert [label.name for label in after.labels] == ["Dog", "Rain", "my doorbell"]
    assert after.thresholds[:2] == before.thresholds == (0.4, 0.7)
    assert after.thresholds[2] == added.threshold
    for name, tensor in before.head.state_dict().items():
        assert torch.equal(after.head.state_dict()[name][: len(tensor)], tensor), name
    layers = torch.randn(4, 2, 5, 64)
    torch.testing.assert_close(after.head(layers)[:, :2], before.head(layers), rtol=0, atol=1e-6)
    assert added.recordings == 5
    assert added.windows >= 5
    assert added.negatives > 0
    assert "my doorbell" in after.info.data


def test_the_new_label_is_told_from_what_it_is_not(place: Path) -> None:
    add_label(
        "my doorbell", clips(place)[:4], read_target(place / "head"), place / "new", QUICK, encoder=encoder()
    )
    after, frozen = load_head(place / "new"), encoder()

    def score(audio: np.ndarray) -> float:
        values = frozen.features([audio[:25600]])
        return float(after.head(torch.from_numpy(values).float()).sigmoid()[0, 2])

    assert score(decode_file(clips(place)[4])) > score(noise(2.0, 99))
    assert score(decode_file(clips(place)[4])) > score(np.zeros(32000, np.float32))


def test_what_was_added_is_remembered_for_the_next_one(place: Path) -> None:
    old = Replay(np.ones((4, 32), np.float32), np.eye(2, dtype=np.bool_)[[0, 0, 1, 1]])
    write_replay(place / "head", old)
    first = add_label("one", clips(place), read_target(place / "head"), place / "a", QUICK, encoder=encoder())
    second = add_label(
        "two", clips(place)[:3], read_target(place / "a"), place / "b", QUICK, encoder=encoder()
    )
    assert second.negatives == first.negatives + first.windows
    head = load_head(place / "b").head
    replay = read_replay(place / "b", head)
    assert replay is not None
    assert replay.targets.sum(0).tolist() == [2, 2, first.windows, second.windows]


def test_a_models_own_head_can_be_taught(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    for i in range(3):
        write_wav(tmp_path / f"{i}.wav", tone(2.0, 400 + i))
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    target = read_target(str(tmp_path / "model"))
    add_label(
        "our gate", paths, target, tmp_path / "new", QUICK, encoder=load_encoder(tmp_path / "model", "fp32")
    )
    after = load_head(tmp_path / "new")
    assert [label.name for label in after.labels] == ["Dog", "Siren", "our gate"]
    assert after.info.encoder.fingerprint == target.info.encoder.fingerprint != ""
    # Its weights are no float16, so they are kept as they are.
    for name, tensor in target.head.state_dict().items():
        assert torch.equal(after.head.state_dict()[name][: len(tensor)], tensor), name


def test_a_known_sound_gets_its_audioset_name(place: Path) -> None:
    added = add_label(
        "doorbell", clips(place), read_target(place / "head"), place / "n", QUICK, encoder=encoder()
    )
    assert added.label == Label("Doorbell", "/m/03wwcy")


def test_what_cannot_be_is_told(place: Path) -> None:
    target = read_target(place / "head")
    with pytest.raises(ConfigError, match=r"hears 'Dog' already"):
        add_label("dog", clips(place), target, place / "x", QUICK, encoder=encoder())
    with pytest.raises(ModelError, match=r"expected the encoder of tiny.*--encoder"):
        add_label("hum", clips(place), target, place / "x", QUICK, encoder=encoder(seed=1))
    (place / "clips" / "3.wav").write_bytes(b"broken")
    with pytest.raises(StreamerError, match=r"at least 3 recordings.*found 2.*3\.wav"):
        add_label("hum", clips(place)[2:], target, place / "x", QUICK, encoder=encoder())
    added = add_label("hum", clips(place), target, place / "x", QUICK, encoder=encoder())
    assert [Path(one.where).name for one in added.skipped] == ["3.wav"]
    with pytest.raises(ModelError):
        read_target(place / "nowhere")


@pytest.mark.parametrize("kind", HEADS)
def test_a_row_more_leaves_every_kind_of_head_its_weights(kind: str) -> None:
    torch.manual_seed(0)
    head = make_head(kind, 2, 16, 3, 8).eval()
    bigger = with_row(head, np.arange(8, dtype=np.float32), -1.5)
    layers = torch.randn(5, 2, 4, 16)
    got = bigger(layers)
    torch.testing.assert_close(got[:, :3], head(layers), rtol=0, atol=1e-6)
    inputs = head.mlp_layer[0](head.summary(layers))
    torch.testing.assert_close(got[:, 3], inputs @ torch.arange(8.0) - 1.5, rtol=1e-4, atol=1e-4)


def two_sides(seed: int, apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positives = rng.standard_normal((30, 8)).astype(np.float32)
    positives[:, 0] += apart
    return positives, np.repeat(np.arange(6), 5), rng.standard_normal((200, 8)).astype(np.float32)


def test_a_row_points_where_the_difference_is() -> None:
    positives, _, negatives = two_sides(0, 4.0)
    weight, bias = fit_row(positives, negatives, 0.03)
    assert weight[0] > 2 * np.abs(weight[1:]).max()
    assert ((positives @ weight + bias) > 0).mean() > 0.9
    assert ((negatives @ weight + bias) < 0).mean() > 0.9
    weaker, _ = fit_row(positives, negatives, 1.0)
    assert np.linalg.norm(weaker) < np.linalg.norm(weight)


def test_left_out_scores_saw_neither_side() -> None:
    """Where positives are noise they cannot be told, however well a fit that saw them tells them."""
    positives, clip, negatives = two_sides(1, 0.0)
    right, wrong = leave_out(positives, clip, negatives, 1e-4)
    weight, bias = fit_row(positives, negatives, 1e-4)
    seen = 1 / (1 + np.exp(-(positives @ weight + bias)))
    assert right.mean() < seen.mean() - 0.05
    assert abs(right.mean() - wrong.mean()) < 0.15
    assert (wrong > 0).all()
    good, _ = leave_out(*two_sides(2, 6.0), 0.03)
    assert good.min() > 0.5


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=20),
    st.lists(st.floats(0, 1), max_size=60),
    st.sampled_from([0.0, 0.01, 0.2]),
)
def test_the_threshold_is_the_lowest_with_few_false_alarms(
    right: list[float], wrong: list[float], share: float
) -> None:
    config = AddConfig(false_alarms=share)
    clip = np.arange(len(right)) % 3
    threshold, recall, alarms = choose_threshold(np.array(right), np.array(wrong), clip, config)
    assert config.lowest <= threshold <= config.highest
    assert 0 <= recall <= 1
    assert alarms == (np.mean([w >= threshold for w in wrong]) if wrong else 0)
    if threshold < config.highest:
        assert alarms <= share
    if threshold > config.lowest:
        assert np.mean([w >= round(threshold - 0.001, 3) for w in wrong]) > share
