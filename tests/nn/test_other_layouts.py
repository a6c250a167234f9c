"""Checkpoints of torchaudio and fairseq, made from transformers' own, become what they were made from."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.other_layouts import HEADS, convert
from streamer.nn.speech_checkpoint import load_speech
from tests.tiny_speech import PIECES, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT = [0, *range(4, len(PIECES))]
"""The outputs that torchaudio keeps: the blank and the letters."""


def original(folder: Path, kind: str, large: bool) -> dict[str, Tensor]:
    """A checkpoint of transformers, and its tensors without prefix, the weight norm as in older files."""
    model: Any = save_speech(folder, kind=kind, large=large, mask_time_prob=0.0)
    older = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    out = {}
    for name, tensor in model.state_dict().items():
        body = name.removeprefix("wav2vec2.")
        module, _, last = body.partition("conv.parametrizations")
        out[f"{module}conv.{older[f'parametrizations{last}']}" if last else body] = tensor
    return out


def as_torchaudio(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchaudio's `import_huggingface_model` fills its model, and as its bundles are cut to 29 labels."""
    begin = (
        ("encoder.", "encoder.transformer."),
        ("feature_projection.", "encoder.feature_projection."),
        ("lm_head.", "aux."),
    )
    out = {}
    for name, tensor in tensors.items():
        old, new = next(((old, new) for old, new in begin if name.startswith(old)), ("", ""))
        out[new + name.removeprefix(old)] = tensor[SHORT] if old == "lm_head." else tensor
    return out


def as_fairseq(tensors: dict[str, Tensor], wrapped: bool, every_norm: bool) -> dict[str, Any]:
    """As transformers' script for fairseq's checkpoints reads them, the other way round."""
    norm = r"feature_extractor.conv_layers.\1.2.1." if every_norm else r"feature_extractor.conv_layers.\1.2."
    rules = (
        (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
        (r"^feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", norm),
        (r"^feature_projection\.layer_norm\.", "layer_norm."),
        (r"^feature_projection\.projection\.", "post_extract_proj."),
        (r"^encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
        (r"^encoder\.layers\.(\d+)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
        (r"^encoder\.layers\.(\d+)\.attention\.", r"encoder.layers.\1.self_attn."),
        (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
        (r"\.feed_forward\.output_dense\.", ".fc2."),
    )
    before = "w2v_encoder.w2v_model." if wrapped else ""
    out = {}
    for name, tensor in tensors.items():
        renamed = name
        for pattern, replacement in rules:
            renamed = re.sub(pattern, replacement, renamed)
        head = name.startswith("lm_head.")
        out[name.replace("lm_head", "w2v_encoder.proj") if head else before + renamed] = tensor
    training = {"mask_emb": torch.randn(32), "quantizer.vars": torch.randn(1, 4, 2)}
    return {"args": argparse.Namespace(arch="wav2vec_ctc"), "model": out | ({} if wrapped else training)}


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("layout", ["torchaudio", "fairseq"])
@torch.inference_mode()
def test_the_outcome_is_what_it_was_made_from(tmp_path: Path, layout: str, large: bool) -> None:
    tensors = original(tmp_path / "before", "ForCTC", large)
    content = as_torchaudio(tensors) if layout == "torchaudio" else as_fairseq(tensors, True, large)
    torch.save(content, tmp_path / "other.pt")
    before, after = load_speech(tmp_path / "before"), convert(tmp_path / "other.pt", tmp_path / "after", 2)
    assert after.letters is not None
    assert before.letters is not None
    assert after.letters.pieces == before.letters.pieces
    assert after.encoder.normalise == before.encoder.normalise == large
    clips = [torch.randn(n).numpy() for n in (6000, 4000)]
    wanted, got = before.encoder(clips), after.encoder(clips)
    torch.testing.assert_close(got.layers, wanted.layers)
    assert before.ctc is not None
    assert after.ctc is not None
    heard, told = before.ctc(wanted.states), after.ctc(got.states)
    torch.testing.assert_close(told[..., 1:], heard[..., 1:])


@torch.inference_mode()
def test_what_only_pretraining_needs_stays_behind(tmp_path: Path) -> None:
    tensors = original(tmp_path / "before", "Model", False)
    torch.save(as_fairseq(tensors, False, False), tmp_path / "wav2vec_small.pt")
    after = convert(tmp_path / "wav2vec_small.pt", tmp_path / "after", 2)
    assert after.ctc is None
    clip = torch.randn(5000).numpy()
    wanted = load_speech(tmp_path / "before").encoder([clip])
    torch.testing.assert_close(after.encoder([clip]).states, wanted.states)


def test_letters_of_another_language_come_from_the_dictionary_beside(tmp_path: Path) -> None:
    tensors = original(tmp_path / "before", "ForCTC", False)
    letters = "|" + "".join(chr(ord("а") + i) for i in range(len(PIECES) - 5))
    torch.save(as_fairseq(tensors, True, False), tmp_path / "russian.pt")
    (tmp_path / "dict.ltr.txt").write_text("".join(f"{one} 1\n" for one in letters), encoding="utf-8")
    found = convert(tmp_path / "russian.pt", tmp_path / "after", 2).letters
    assert found is not None
    assert "".join(found.pieces) == letters.replace("|", " ")
    (tmp_path / "dict.ltr.txt").write_text("| 1\nа 1\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"expected a CTC head of 6 outputs, .*dict.ltr.txt, found 32"):
        convert(tmp_path / "russian.pt", tmp_path / "after", 2)


def test_what_is_refused(tmp_path: Path) -> None:
    tensors = as_torchaudio(original(tmp_path / "before", "ForCTC", False))
    torch.save(tensors, tmp_path / "tiny.pth")
    with pytest.raises(CheckpointError, match=f"{', '.join(map(str, HEADS))}.*found 32.*--heads"):
        convert(tmp_path / "tiny.pth", tmp_path / "after")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="found weight"):
        convert(tmp_path / "other.pth", tmp_path / "after")
    del tensors["encoder.transformer.layers.1.attention.k_proj.bias"]
    torch.save(tensors, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"missing encoder.layers.1.attention.k_proj.bias"):
        convert(tmp_path / "part.pth", tmp_path / "after", 2)
    (tmp_path / "noise.pth").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot read"):
        convert(tmp_path / "noise.pth", tmp_path / "after", 2)
