from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.errors import CheckpointError
from streamer.nn.heads import HEADS, make_head
from streamer.training.tags.replay import FILE, Replay, choose, last_inputs, read_replay, save_replay
from tests.training.tags.tools import LABELS, two_classes


@pytest.mark.parametrize("kind", HEADS)
def test_what_the_last_layer_sees_gives_the_logits(kind: str) -> None:
    torch.manual_seed(0)
    head, features = make_head(kind, 2, 8, 3, 8).eval(), two_classes(20)
    inputs = torch.from_numpy(last_inputs(head, features, batch=6))
    torch.testing.assert_close(
        head.mlp_layer[1](inputs), head(features.take(np.arange(20)).float()), rtol=0, atol=1e-5
    )


def test_it_comes_back_and_belongs_to_one_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head, features = make_head("tl-tr", 2, 8, 3, 8).eval(), [two_classes(40), two_classes(20, tokens=10)]
    assert read_replay(tmp_path, head) is None
    save_replay(tmp_path, head, features, 0)
    assert read_replay(tmp_path, head) is None
    save_replay(tmp_path, head, features, 25)
    replay = read_replay(tmp_path, head)
    assert replay is not None
    assert replay.inputs.shape == (25, 8)
    assert replay.targets.shape == (25, len(LABELS))
    save_replay(tmp_path, head, features, 1000)
    everything = read_replay(tmp_path, head)
    assert everything is not None
    wanted = np.concatenate([last_inputs(head, f) for f in features])
    np.testing.assert_allclose(everything.inputs, wanted, atol=4e-3)
    with pytest.raises(CheckpointError, match=r"of another head.*Delete it"):
        read_replay(tmp_path, make_head("tl-tr", 2, 8, 4, 8))
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_replay(tmp_path, head)


def test_rare_labels_are_remembered_rather_than_common_ones() -> None:
    features = two_classes(200)
    features.targets[:] = False
    features.targets[:180, 0] = True
    features.targets[180:190, 1] = True
    chosen = choose([features], 40)
    targets = np.concatenate([f.targets for f in chosen])
    assert len(targets) == 40
    assert targets[:, 1].sum() >= 8
    assert (~targets.any(1)).sum() >= 2
    assert targets[:, 0].sum() >= 10


def test_replays_add_up() -> None:
    one = Replay(np.zeros((2, 4), np.float32), np.zeros((2, 3), np.bool_))
    more = one.joined(np.ones((1, 4), np.float32), np.ones((1, 3), np.bool_))
    assert more.inputs.sum(1).tolist() == [0, 0, 4]
    assert more.targets.sum(1).tolist() == [0, 0, 3]
