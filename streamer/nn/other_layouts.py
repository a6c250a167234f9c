"""wav2vec 2.0 and HuBERT in other layouts than Hugging Face's: torchaudio's bundles, fairseq's `.pt` files.

Both hold the same network under other names, and say too little of it: its sizes are read from the tensors,
the number of attention heads, which no tensor shows, from what was published for a width. Neither torchaudio
nor fairseq is needed.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.hugging_face import CONFIG
from streamer.nn.letters import VOCABULARY
from streamer.nn.speech import SpeechEncoder
from streamer.nn.speech_checkpoint import PREPROCESSOR, LoadedSpeech, load_speech, part
from streamer.timebase import SAMPLE_RATE

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Attention heads of the published models, by width."""

LETTERS = "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"
"""What the published English heads write, in their order."""
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""Before them: the blank alone (torchaudio), or all (fairseq, which calls the blank <s>)."""
DICTIONARY = "dict.ltr.txt"
"""fairseq's list of letters, beside a checkpoint."""

_PREFIX, _HEAD = "wav2vec2.", "lm_head."
_TORCHAUDIO = (
    (r"^feature_extractor\.", f"{_PREFIX}feature_extractor."),
    (r"^encoder\.feature_projection\.", f"{_PREFIX}feature_projection."),
    (r"^encoder\.transformer\.", f"{_PREFIX}encoder."),
    (r"^(aux|encoder\.readout)\.", _HEAD),
)
_FAIRSEQ = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", rf"{_PREFIX}feature_extractor.conv_layers.\1.conv."),
    (
        r"^feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?(?=weight|bias)",
        rf"{_PREFIX}feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (r"^layer_norm\.", f"{_PREFIX}feature_projection.layer_norm."),
    (r"^post_extract_proj\.", f"{_PREFIX}feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.", f"{_PREFIX}encoder.pos_conv_embed.conv."),
    (r"^encoder\.layer_norm\.", f"{_PREFIX}encoder.layer_norm."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.", rf"{_PREFIX}encoder.layers.\1.attention."),
    (r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.", rf"{_PREFIX}encoder.layers.\1.layer_norm."),
    (r"^encoder\.layers\.(\d+)\.fc1\.", rf"{_PREFIX}encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"^encoder\.layers\.(\d+)\.fc2\.", rf"{_PREFIX}encoder.layers.\1.feed_forward.output_dense."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", rf"{_PREFIX}encoder.layers.\1.final_layer_norm."),
    (r"^proj\.", _HEAD),
)
_WRAPPED = ("wav2vec2.", "w2v_encoder.w2v_model.", "w2v_encoder.")
"""What names may begin with where the network is part of a larger one."""
_ADVICE = (
    "Expected a wav2vec 2.0 or HuBERT of torchaudio's bundles (.pth), or of fairseq (.pt, with 'model'); of "
    "a fairseq file with more in it than tensors and settings, save its 'model' alone, with fairseq"
)


def convert(path: Path, out: Path, heads: int | None = None) -> LoadedSpeech[SpeechEncoder]:
    """Write a checkpoint as a folder in Hugging Face's layout, which all else reads; returns it, loaded.

    heads: of a layer's attention, for a width that was never published. Raises CheckpointError for a file of
    another kind, for sizes that cannot be told, and for a CTC head whose letters nobody knows.
    """
    tensors = dict(_renamed(_read(path), path))
    config = _config(tensors, heads, path)
    ctc = part(tensors, _HEAD)
    letters = _letters(len(ctc["bias"]), path) if ctc else None
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).unlink(missing_ok=True)  # comes last: a folder without it is no model
    save_file(
        {name: tensor.float().contiguous() for name, tensor in tensors.items()}, out / "model.safetensors"
    )
    (out / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone
    if letters is not None:
        config["vocab_size"] = len(letters)
        _write(out / VOCABULARY, {piece: number for number, piece in enumerate(letters)})
    normalise = config["feat_extract_norm"] == "layer"
    _write(out / PREPROCESSOR, {"do_normalize": normalise, "sampling_rate": SAMPLE_RATE})
    _write(out / CONFIG, config | {"architectures": ["Wav2Vec2ForCTC" if ctc else "Wav2Vec2Model"]})
    return load_speech(out)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors, under their own names without what they are wrapped in."""
    try:
        # fairseq keeps its command line beside the weights, as a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. {_ADVICE}") from error
    content = content.get("model", content) if isinstance(content, Mapping) else {}
    tensors = {str(name): one for name, one in content.items() if isinstance(one, Tensor)}
    for prefix in _WRAPPED:
        tensors = {name.removeprefix(prefix): one for name, one in tensors.items()}
    return tensors


def _renamed(tensors: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
    """Under Hugging Face's names; what is only for training is left out."""
    torchaudio = any(name.startswith("encoder.transformer.") for name in tensors)
    found = False
    for name, tensor in tensors.items():
        for pattern, replacement in _TORCHAUDIO if torchaudio else _FAIRSEQ:
            renamed, count = re.subn(pattern, replacement, name)
            if count:
                found = found or ".layers." in renamed
                yield renamed, tensor
                break
    if not found:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise CheckpointError(f"{path}: {_ADVICE}; found {some}")


def _config(tensors: Mapping[str, Tensor], heads: int | None, path: Path) -> dict[str, Any]:
    """What the tensors show of the network. Every published one that norms all convolutions norms first."""
    body = part(tensors, _PREFIX)
    try:
        width = len(body["feature_projection.projection.bias"])
        inner = body["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0]
        positions = next(
            one for name, one in body.items() if re.search(r"pos_conv.*(weight_v|original1)$", name)
        )
    except (KeyError, StopIteration, ValueError) as error:
        raise CheckpointError(f"{path}: lacks {error}, or is another network. {_ADVICE}") from None
    if heads is None and width not in HEADS:
        known = ", ".join(map(str, HEADS))
        raise CheckpointError(
            f"{path}: expected a published width ({known}) to know the attention heads of, found {width}. "
            "Say how many a layer has (--heads)"
        )
    convolutions = _numbers(body, r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight")
    every = "feature_extractor.conv_layers.1.layer_norm.weight" in body
    return {
        "model_type": "wav2vec2",
        "hidden_size": width,
        "num_hidden_layers": len(_numbers(body, r"encoder\.layers\.(\d+)\.final_layer_norm\.weight")),
        "num_attention_heads": heads or HEADS[width],
        "intermediate_size": inner,
        "conv_dim": [len(body[f"feature_extractor.conv_layers.{i}.conv.weight"]) for i in convolutions],
        "conv_kernel": [
            body[f"feature_extractor.conv_layers.{i}.conv.weight"].shape[2] for i in convolutions
        ],
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in body,
        "num_conv_pos_embeddings": positions.shape[2],
        "num_conv_pos_embedding_groups": width // positions.shape[1],
        "feat_extract_norm": "layer" if every else "group",
        "do_stable_layer_norm": every,
        "num_feat_extract_layers": len(convolutions),
        "pad_token_id": 0,
    }


def _numbers(body: Mapping[str, Tensor], pattern: str) -> list[int]:
    return sorted(int(match.group(1)) for name in body if (match := re.fullmatch(pattern, name)))


def _letters(outputs: int, path: Path) -> list[str]:
    """What each output writes: fairseq's dictionary beside the file, else what was published."""
    beside = path.parent / DICTIONARY
    if beside.is_file():
        lines = beside.read_text(encoding="utf-8").splitlines()
        letters = [*SPECIALS, *(line.split()[0] for line in lines if line.strip())]
    else:
        letters = [*(SPECIALS[:1] if outputs == 1 + len(LETTERS) else SPECIALS), *LETTERS]
    if len(letters) != outputs:
        raise CheckpointError(
            f"{path}: expected a CTC head of {len(letters)} outputs, as many as "
            f"{beside if beside.is_file() else 'the published English ones'}, found {outputs}. Put the "
            f"{DICTIONARY} of its training beside it"
        )
    return letters


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
