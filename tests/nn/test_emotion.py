"""Emotion heads in both layouts, against transformers' own and soxan's definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.emotion import POOLINGS, LayersHead, pooled, token_frames
from streamer.nn.speech import SpeechEncoder, unit_variance
from streamer.nn.speech_checkpoint import LoadedSpeech, load_speech
from tests.tiny_speech import CLASSES, edit, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

LABELS = {0: "anger", 1: "joy", 2: "neutral"}
CLIPS = [
    (0.1 * np.random.default_rng(i).standard_normal(n)).astype(np.float32) for i, n in enumerate((9000, 5000))
]


def scores(loaded: LoadedSpeech[SpeechEncoder]) -> Tensor:
    assert loaded.emotion is not None
    with torch.inference_mode():
        return loaded.emotion.scores(loaded.encoder(CLIPS))


@pytest.mark.parametrize("weighted", [False, True], ids=["last", "weighted"])
@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("family", CLASSES)
def test_sequence_classification_is_that_of_transformers(
    tmp_path: Path, family: str, large: bool, weighted: bool
) -> None:
    """A batch with padding gives what transformers gives for each clip alone."""

    def uneven(model: Any) -> None:
        if weighted:
            model.layer_weights.copy_(torch.tensor([0.5, -1.0, 2.0]))

    reference = save_speech(
        tmp_path,
        family,
        "ForSequenceClassification",
        large,
        uneven,
        use_weighted_layer_sum=weighted,
        id2label=LABELS,
        label2id={name: i for i, name in LABELS.items()},
    )
    loaded = load_speech(tmp_path)
    assert loaded.emotion is not None
    assert (loaded.emotion.labels, loaded.emotion.kind) == (("anger", "joy", "neutral"), "classes")
    for clip, ours in zip(CLIPS, scores(loaded), strict=True):
        given = torch.from_numpy(unit_variance(clip) if large else clip)[None]
        with torch.inference_mode():
            expected = reference(given).logits[0].softmax(-1)
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def soxan(directory: Path, family: str = "wav2vec2", **config: Any) -> dict[str, Tensor]:
    """A checkpoint in soxan's layout around transformers' encoder; its head."""
    save_speech(directory, family, "ForCTC")
    body = {
        n: t for n, t in load_file(directory / "model.safetensors").items() if not n.startswith("lm_head")
    }
    shapes = {
        "dense.weight": (32, 32),
        "dense.bias": (32,),
        "out_proj.weight": (3, 32),
        "out_proj.bias": (3,),
    }
    head = {f"classifier.{name}": torch.randn(shape) for name, shape in shapes.items()}
    torch.save(body | head, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    labels = {str(i): name for i, name in LABELS.items()}
    about = {"architectures": [f"{CLASSES[family]}ForSpeechClassification"], "id2label": labels}
    edit(directory / "config.json", **about | config)
    return head


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_soxans_layout(tmp_path: Path, family: str, pooling: str) -> None:
    """Its definition, on each clip alone: padding must not leak into the pooling of a batch."""
    head = soxan(tmp_path, family, pooling_mode=pooling)
    loaded = load_speech(tmp_path)
    for clip, ours in zip(CLIPS, scores(loaded), strict=True):
        with torch.inference_mode():
            states = loaded.encoder([clip]).states[0]
        summary = {"mean": states.mean(0), "sum": states.sum(0), "max": states.amax(0)}[pooling]
        hidden = torch.tanh(head["classifier.dense.weight"] @ summary + head["classifier.dense.bias"])
        logits = head["classifier.out_proj.weight"] @ hidden + head["classifier.out_proj.bias"]
        torch.testing.assert_close(ours, logits.softmax(-1), atol=1e-4, rtol=0)


def test_dimensions_are_values_as_they_come(tmp_path: Path) -> None:
    soxan(tmp_path)
    classes = load_speech(tmp_path)
    names = {"0": "arousal", "1": "dominance", "2": "valence"}
    edit(tmp_path / "config.json", problem_type="regression", id2label=names)
    loaded = load_speech(tmp_path)
    assert loaded.emotion is not None
    assert (loaded.emotion.kind, loaded.emotion.labels) == ("dimensions", ("arousal", "dominance", "valence"))
    torch.testing.assert_close(scores(loaded).softmax(-1), scores(classes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "anger", "1": "joy"}}, "each of the head's 3 outputs.*found 2: 0 anger, 1 joy"),
        ({"id2label": {"0": "a", "1": "b", "4": "c"}}, "by its number"),
        ({"pooling_mode": "median"}, "expected pooling_mode mean, sum, max, found 'median'"),
    ],
)
def test_labels_and_poolings_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    soxan(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_speech(tmp_path)


def test_a_missing_tensor_of_the_head(tmp_path: Path) -> None:
    save_speech(tmp_path, kind="ForSequenceClassification", use_weighted_layer_sum=True)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({name: t for name, t in tensors.items() if name != "layer_weights"}, path)
    assert json.loads((tmp_path / "config.json").read_text())["use_weighted_layer_sum"]
    with pytest.raises(CheckpointError, match="missing layer_weights"):
        load_speech(tmp_path)


def test_pooling_leaves_out_what_is_not_the_clips() -> None:
    x = torch.tensor([[[1.0], [3.0], [9.0]], [[-5.0], [-4.0], [-6.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert [pooled(x, mask, how).flatten().tolist() for how in ("mean", "sum", "max")] == [
        [2, -5],
        [4, -15],
        [3, -4],
    ]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_head_on_layers_sees_only_a_clips_own_tokens(pooling: str) -> None:
    torch.manual_seed(0)
    head = LayersHead(3, 6, 4, 2, pooling)
    torch.nn.init.normal_(head.layer_weights)
    head.scale.fill_(2.0)
    layers = torch.randn(2, 3, 5, 6)
    together = head(token_frames(layers, [5, 2]))
    alone = head(token_frames(layers[1:, :, :2], [2]))
    torch.testing.assert_close(together[1:], alone)
    # Layers count by their weights: of two that tell the same, it does not matter which.
    same = layers[:, :1].expand(-1, 3, -1, -1)
    one = head.summed(token_frames(same, [5, 2]))
    torch.testing.assert_close(one, same[:, 0] / 2)
