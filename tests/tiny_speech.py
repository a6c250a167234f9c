"""Checkpoints of the wav2vec 2.0 family as they lie on a disk, tiny and random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PIECES = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
"""The 32 outputs of wav2vec2-base-960h, in its order."""

CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}


def config_of(family: str, large: bool = False, **more: Any) -> Any:
    """Sizes of a tiny model; `large`: norms and bias as the large checkpoints have them."""
    import transformers

    settings: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "vocab_size": len(PIECES),
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
        "conv_bias": large,
        "classifier_proj_size": 24,
        "pad_token_id": 0,
    }
    return getattr(transformers, f"{CLASSES[family]}Config")(**settings | more)


def save_speech(
    directory: Path,
    family: str = "wav2vec2",
    kind: str = "ForCTC",
    large: bool = False,
    change: Callable[[Any], None] = lambda _: None,
    **more: Any,
) -> Any:
    """Write a checkpoint with transformers itself, `change` its weights before, and return its model."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{CLASSES[family]}{kind}")(config_of(family, large, **more)).eval()
    with torch.no_grad():
        change(model)
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": large, "sampling_rate": 16000})
    )
    (directory / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(PIECES)}))
    return model


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
