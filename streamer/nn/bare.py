"""A Whisper's encoder alone: a file of bare tensors, and what tells its weights from any others."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from streamer.errors import CheckpointError
from streamer.nn.fill import fill
from streamer.nn.whisper import AudioEncoder, WhisperDims, sinusoids

HEAD_WIDTH = 64
"""Width of an attention head in every official Whisper encoder."""


def is_bare(path: Path) -> bool:
    """Whether a path can be a file of bare tensors."""
    return path.suffix == ".safetensors" and path.is_file()


def bare_name(path: Path) -> str:
    """What such a file is called: itself, or after its folder where it is only called encoder."""
    return path.parent.name if path.stem.startswith("encoder") else path.stem


def read_encoder(path: Path) -> AudioEncoder:
    """An encoder from a file of tensors `encoder.…` under openai-whisper's names. Raises CheckpointError."""
    advice = (
        "Expected the tensors of a Whisper's encoder under openai-whisper's names, encoder.conv1.weight …"
    )
    try:
        tensors = {
            name.removeprefix("encoder."): tensor
            for name, tensor in load_file(path).items()
            if name.startswith("encoder.")
        }
        width, bands, _ = tensors["conv1.weight"].shape
        layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the encoder {path}: {error}. {advice}") from error
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no encoder. {advice}") from error
    if width % HEAD_WIDTH:
        raise CheckpointError(f"expected a width that is a multiple of {HEAD_WIDTH} in {path}, found {width}")
    tensors.setdefault("positional_embedding", sinusoids(1500, width))
    positions = tensors["positional_embedding"].shape[0]
    # Of the text side the encoder takes nothing.
    dims = WhisperDims(bands, positions, width, width // HEAD_WIDTH, layers, 1, 1, width, 1, 1)
    return fill(lambda: AudioEncoder(dims), tensors, path, advice)


def weights_digest(module: nn.Module, *more: str) -> str:
    """Changes with any weight of a module, and with any of the texts `more`."""
    digest = blake2b(digest_size=12)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    for text in more:
        digest.update(text.encode())
    return digest.hexdigest()
