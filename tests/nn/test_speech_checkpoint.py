"""What a folder may hold, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamer.errors import CheckpointError
from streamer.nn.speech_checkpoint import is_speech, load_speech
from tests.tiny_speech import edit, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")


def rename(directory: Path, old: str, new: str | None) -> None:
    """Rename tensors, or drop them."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    kept = {name: t for name, t in tensors.items() if old not in name or new is not None}
    save_file({name.replace(old, new or ""): t for name, t in kept.items()}, path)


@pytest.mark.parametrize("kind", ["Model", "ForPreTraining"])
def test_an_encoder_without_a_head(tmp_path: Path, kind: str) -> None:
    reference = save_speech(
        tmp_path, kind=kind, proj_codevector_dim=16, codevector_dim=16, num_codevectors_per_group=4
    )
    loaded = load_speech(tmp_path)
    assert is_speech(tmp_path)
    assert loaded.ctc is None
    clip = torch.linspace(-0.1, 0.1, 4000)
    body = reference if kind == "Model" else reference.wav2vec2
    with torch.inference_mode():
        ours = loaded.encoder([clip.numpy()]).states
        torch.testing.assert_close(ours, body(clip[None]).last_hidden_state, atol=1e-4, rtol=0)


def test_names_of_older_files_and_pickles(tmp_path: Path) -> None:
    """weight_g and weight_v, as torch named them before parametrisations; a .bin instead of safetensors."""
    save_speech(tmp_path)
    before = load_speech(tmp_path).encoder([torch.ones(4000).numpy()]).states
    rename(tmp_path, "parametrizations.weight.original0", "weight_g")
    rename(tmp_path, "parametrizations.weight.original1", "weight_v")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert torch.equal(load_speech(tmp_path).encoder([torch.ones(4000).numpy()]).states, before)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_speech(tmp_path)
    rename(tmp_path, "layers.1.attention.k_proj.weight", None)
    with pytest.raises(
        CheckpointError, match=r"missing encoder\.layers\.1\.attention\.k_proj\.weight \(32, 32\)"
    ):
        load_speech(tmp_path)


def test_a_ctc_checkpoint_without_its_head(tmp_path: Path) -> None:
    save_speech(tmp_path)
    rename(tmp_path, "lm_head.", None)
    with pytest.raises(CheckpointError, match=r"missing out\.weight .*lm_head"):
        load_speech(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec3"}, r"expected model_type .*found 'wav2vec3'.*Did you mean 'wav2vec2'"),
        (
            {"architectures": ["Wav2Vec2ForXVector"]},
            "expected one of the architectures .*Wav2Vec2ForCTC.*XVector",
        ),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, "a frame every 640 samples"),
        ({"add_adapter": True}, "add_adapter True"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    save_speech(tmp_path)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_speech(tmp_path)
