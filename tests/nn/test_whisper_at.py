"""Whisper-AT's released heads: every size by its own names, and everything else refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.heads import make_head
from streamer.nn.official import TAG_HEADS
from streamer.nn.whisper_at import beside, describe, load_whisper_at

SIZES = {
    "tiny": (4, 384),
    "base": (6, 512),
    "small": (12, 768),
    "medium": (24, 1024),
    "large": (32, 1280),
}
BLOCKS = [
    f"at_model.{block}.{part}"
    for block in ("time_tr", "layer_tr")
    for part in (
        "attn.query.weight", "attn.query.bias", "attn.key.weight", "attn.value.weight", "attn.value.bias",
        "attn.out.weight", "attn.out.bias", "attn_ln.weight", "attn_ln.bias", "mlp.0.weight", "mlp.0.bias",
        "mlp.2.weight", "mlp.2.bias", "mlp_ln.weight", "mlp_ln.bias",
    )
]  # fmt: skip
ENDS = [f"at_model.mlp_layer.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")]
DOWN = [f"at_model.down_layer.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")]


def shape(name: str, n_state: int, inner: int) -> tuple[int, ...]:
    """What a released file has under a name."""
    if "down_layer.0" in name:
        return (n_state,)
    if "down_layer.1" in name:
        return (inner, n_state) if name.endswith("weight") else (inner,)
    if "mlp_layer.1" in name:
        return (527, inner) if name.endswith("weight") else (527,)
    if ".mlp.0." in name:
        return (4 * inner, inner) if name.endswith("weight") else (4 * inner,)
    if ".mlp.2." in name:
        return (inner, 4 * inner) if name.endswith("weight") else (inner,)
    return (inner, inner) if ".attn." in name and name.endswith("weight") else (inner,)


def released(n_state: int, width: int | None) -> dict[str, Tensor]:
    """The tensors of a released file, every one a single number as often as its shape wants it."""
    names = BLOCKS + ENDS + (DOWN if width else [])
    return {
        name: torch.tensor(0.01 * i).expand(shape(name, n_state, width or n_state))
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize("name", sorted(TAG_HEADS))
def test_every_released_head_loads_unchanged(tmp_path: Path, name: str) -> None:
    (size,) = (size for size in SIZES if name.startswith(size))
    n_layer, n_state = SIZES[size]
    width = 512 if name.endswith("_low") else None
    content = released(n_state, width)
    torch.save(content, tmp_path / f"{name}.pth")
    head = load_whisper_at(tmp_path / f"{name}.pth")
    assert (head.kind, head.n_layer, head.n_state, head.n_class, head.width) == (
        "tl-tr", n_layer, n_state, 527, width
    )  # fmt: skip
    assert {f"at_model.{key}" for key in head.state_dict()} == set(content)
    for key, tensor in head.state_dict().items():
        assert torch.equal(tensor, content[f"at_model.{key}"])
    about = describe(tmp_path / f"{name}.pth", head)
    assert about.encoder.name == name.rsplit("_", 1)[0]
    assert (about.tags.head, about.tags.width, about.tags.window) == ("tl-tr", width, 10.0)


@pytest.mark.parametrize("width", [None, 512])
def test_a_loaded_head_says_what_the_saved_one_says(tmp_path: Path, width: int | None) -> None:
    torch.manual_seed(0)
    head = make_head("tl-tr", 4, 384, 527, width).eval()
    torch.save({f"at_model.{k}": t.half() for k, t in head.state_dict().items()}, tmp_path / "tiny_ori.pth")
    found, layers = load_whisper_at(tmp_path / "tiny_ori.pth"), torch.randn(2, 4, 25, 384)
    with torch.inference_mode():
        assert (found(layers) - head(layers)).abs().max() < 1e-2
    assert not found.training


def test_an_unofficial_width_needs_the_number_of_layers(tmp_path: Path) -> None:
    torch.save(released(64, None), tmp_path / "mine_ori.pth")
    assert load_whisper_at(tmp_path / "mine_ori.pth", 3).n_layer == 3
    with pytest.raises(CheckpointError, match="name the number of layers"):
        load_whisper_at(tmp_path / "mine_ori.pth")


def test_what_is_no_released_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny_ori.pth"
    torch.save({"encoder.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"expected tensors named at_model.*found none"):
        load_whisper_at(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="expected named tensors, found list"):
        load_whisper_at(path)
    content = released(384, None)
    del content["at_model.layer_tr.attn.key.weight"]
    torch.save(content | {"at_model.layer_tr.attn.key.bias": torch.zeros(384)}, path)
    with pytest.raises(CheckpointError, match=r"missing layer_tr.attn.key.weight.*unexpected .*key.bias"):
        load_whisper_at(path)
    for damage in (b"", b"<html>not found</html>"):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match="cannot read"):
            load_whisper_at(path)


def test_the_full_head_comes_before_the_narrow_one(tmp_path: Path) -> None:
    checkpoint = tmp_path / "small.en.pt"
    assert beside(checkpoint) is None
    (tmp_path / "small.en_low.pth").touch()
    assert beside(checkpoint) == tmp_path / "small.en_low.pth"
    (tmp_path / "small.en_ori.pth").touch()
    assert beside(checkpoint) == tmp_path / "small.en_ori.pth"
