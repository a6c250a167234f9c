"""Hugging Face's layout of a Whisper, `config.json` and tensors in one folder, in our names and sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamer.errors import CheckpointError, MissingExtraError
from streamer.nn.whisper import WhisperDims

CONFIG = "config.json"
_TENSORS = ("model.safetensors", "pytorch_model.bin")

_NAMES = (
    (r"^(encoder|decoder)\.embed_positions\.weight$", r"\1.positional_embedding"),
    (r"^decoder\.embed_tokens\.", r"decoder.token_embedding."),
    (r"^encoder\.layer_norm\.", r"encoder.ln_post."),
    (r"^decoder\.layer_norm\.", r"decoder.ln."),
    (r"^(encoder|decoder)\.layers\.", r"\1.blocks."),
    (r"\.self_attn_layer_norm\.", r".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", r".cross_attn_ln."),
    (r"\.final_layer_norm\.", r".mlp_ln."),
    (r"\.self_attn\.", r".attn."),
    (r"\.encoder_attn\.", r".cross_attn."),
    (r"\.q_proj\.", r".query."),
    (r"\.k_proj\.", r".key."),
    (r"\.v_proj\.", r".value."),
    (r"\.out_proj\.", r".out."),
    (r"\.fc1\.", r".mlp.0."),
    (r"\.fc2\.", r".mlp.2."),
)


def read_directory(directory: Path) -> tuple[WhisperDims, dict[str, Tensor], list[tuple[int, int]]]:
    """Sizes, tensors under openai-whisper's names, and alignment heads (empty where the folder names none).

    Raises CheckpointError for another kind of model, and for files that are missing or unreadable.
    """
    dims = _dims(read_json(directory / CONFIG), directory)
    tensors = _rename(read_tensors(directory), directory)
    generation = directory / "generation_config.json"
    heads = read_json(generation).get("alignment_heads") if generation.exists() else None
    return dims, tensors, [(int(layer), int(head)) for layer, head in heads or ()]


def fetch(name: str) -> Path:
    """The folder of a model by its id on the Hub: the local copy if there is one, else downloaded.

    Raises MissingExtraError without huggingface_hub, CheckpointError where it cannot be had.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError(f"the Hugging Face model {name!r}", "hf") from error
    files = ["*.json", "*.safetensors", "pytorch_model*.bin"]
    try:
        return Path(snapshot_download(name, allow_patterns=files, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        pass
    except ValueError as error:
        raise CheckpointError(
            f"expected a Hugging Face id like 'openai/whisper-tiny', found {name!r}"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"the Hugging Face model {name!r} is neither in the local cache nor could it be downloaded "
            f"({error}). Check the name and the network, or give the path of a folder that holds it"
        ) from error


def name_of(directory: Path) -> str:
    """A model's id on the Hub where `directory` is a copy in its cache, else the folder's name."""
    if directory.parent.name == "snapshots" and (cached := directory.parent.parent.name).startswith(
        "models--"
    ):
        return cached.removeprefix("models--").replace("--", "/")
    return directory.name


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _dims(config: Mapping[str, Any], directory: Path) -> WhisperDims:
    kind = config.get("model_type")
    if kind != "whisper":
        raise CheckpointError(f"{directory / CONFIG}: expected model_type 'whisper', found {kind!r}")
    try:
        width = int(config["d_model"])
        for side in ("encoder", "decoder"):
            inner = config.get(f"{side}_ffn_dim", 4 * width)
            if inner != 4 * width:
                raise CheckpointError(
                    f"{directory / CONFIG}: expected {side}_ffn_dim {4 * width}, found {inner}"
                )
        activation = config.get("activation_function", "gelu")
        if activation != "gelu":
            raise CheckpointError(
                f"{directory / CONFIG}: expected activation_function gelu, found {activation}"
            )
        return WhisperDims(
            n_mels=int(config["num_mel_bins"]),
            n_audio_ctx=int(config["max_source_positions"]),
            n_audio_state=width,
            n_audio_head=int(config["encoder_attention_heads"]),
            n_audio_layer=int(config["encoder_layers"]),
            n_vocab=int(config["vocab_size"]),
            n_text_ctx=int(config["max_target_positions"]),
            n_text_state=width,
            n_text_head=int(config["decoder_attention_heads"]),
            n_text_layer=int(config["decoder_layers"]),
        )
    except KeyError as error:
        raise CheckpointError(f"{directory / CONFIG}: expected the key {error}, found none") from error


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Every tensor of a folder under its name there, whole or in shards. Raises CheckpointError without."""
    for name in _TENSORS:
        if (directory / name).exists():
            return _read(directory / name)
        index = directory / f"{name}.index.json"
        if index.exists():
            shards = sorted(set(read_json(index).get("weight_map", {}).values()))
            tensors: dict[str, Tensor] = {}
            for shard in shards:
                if Path(shard).name != shard or not (directory / shard).exists():
                    raise CheckpointError(f"{index} names {shard}, which is not in {directory}")
                tensors |= _read(directory / shard)
            return tensors
    raise CheckpointError(
        f"expected {' or '.join(_TENSORS)} (or shards with an index) in {directory}, found neither"
    )


def _read(path: Path) -> dict[str, Tensor]:
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read the tensors of {path}: {error}") from error
    return content


def _rename(tensors: Mapping[str, Tensor], directory: Path) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = name.removeprefix("model.")
        for pattern, replacement in _NAMES:
            short = re.sub(pattern, replacement, short)
        out[short] = tensor
    # The output layer is the embedding; some files hold it twice.
    output = out.pop("proj_out.weight", None)
    embedding = out.get("decoder.token_embedding.weight")
    if output is not None and embedding is not None and not torch.equal(output, embedding):
        raise CheckpointError(f"{directory}: expected proj_out to be the token embedding, found other values")
    return out
