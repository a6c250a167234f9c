"""Tag heads as checkpoints of their own, and whether one belongs to an encoder.

A head is a folder with `head.toml` (what it is, and which encoder it reads: `definition.HeadInfo`),
`head.safetensors` and a label list; or one of Whisper-AT's released files (`whisper_at`). A model's own
head is described by the same table `[tags]` in `model.toml`, and built by the same `build_head`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streamer.errors import CheckpointError, ModelError
from streamer.labels import Label, audioset, read_labels, write_labels
from streamer.nn.definition import EncoderInfo, HeadInfo, TagsInfo, read_head_info, write_definition
from streamer.nn.fill import fill
from streamer.nn.heads import Head, make_head
from streamer.nn.official import TAG_HEADS, find_official, whisper_cache
from streamer.nn.quantise import STORE, dequantise
from streamer.nn.speech import SpeechEncoder
from streamer.nn.wav2vec1 import Wav2Vec
from streamer.nn.whisper import Whisper
from streamer.nn.whisper_at import SUFFIXES, describe, load_whisper_at
from streamer.resources import HEAD_FILE, RELEASED_HEAD, find_head

log = logging.getLogger(__name__)

WEIGHTS = "head.safetensors"


@dataclass(frozen=True, slots=True)
class LoadedHead:
    """A tag head in float32 and evaluation mode, what is known of it, and a threshold for each label."""

    info: HeadInfo
    head: Head
    labels: tuple[Label, ...]
    thresholds: tuple[float, ...]


# ---------------------------------------------------------------- which encoder


def fingerprint(encoder: nn.Module) -> str:
    """What tells an encoder from any other: the sha256 of its biases and norms as float16.

    Those are the tensors that no way of storing changes further (`quantise` keeps them as float16), so it
    is the same for weights read from fp32, fp16 and int8 files. It does not see a fine-tune that left every
    bias and norm as it was. Raises ValueError for weights that are neither float32 nor float16.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if tensor.dtype not in (torch.float32, torch.float16):
            raise ValueError(
                f"expected weights as they were loaded, in float32; found {name} in {tensor.dtype}"
            )
        if tensor.ndim == 1:
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float16).numpy().astype("<f2").tobytes())
    return f"sha256:{digest.hexdigest()}"


def encoder_info(name: str, network: Whisper | SpeechEncoder | Wav2Vec) -> EncoderInfo:
    """What a head that is trained on this model's encoder has to remember of it."""
    if not isinstance(network, Whisper):
        return EncoderInfo(
            name=name, n_layer=network.n_layer, n_state=network.n_state, fingerprint=fingerprint(network)
        )
    dims = network.dims
    return EncoderInfo(
        name=name,
        n_layer=dims.n_audio_layer,
        n_state=dims.n_audio_state,
        n_mels=dims.n_mels,
        fingerprint=fingerprint(network.encoder),
    )


def check_encoder(
    head: HeadInfo, name: str, network: Whisper | SpeechEncoder | Wav2Vec, *, stock: bool
) -> None:
    """Whether a head reads the encoder of the model called `name`; raises CheckpointError if not.

    By its sizes and fingerprint. A released head has no fingerprint but its encoder's name: then the
    names decide where the model's is an official one or (`stock` false) it is one of ours, which no
    released head was trained on; a file that somebody renamed gets a warning.
    """
    wanted, found = head.encoder, encoder_info(name, network)
    if (wanted.n_layer, wanted.n_state) != (found.n_layer, found.n_state) or (
        wanted.n_mels not in (None, found.n_mels)
    ):
        raise CheckpointError(_wrong(head, found, "another size"))
    if wanted.fingerprint:
        if wanted.fingerprint != found.fingerprint:
            raise CheckpointError(_wrong(head, found, "the same size with other weights"))
    elif wanted.name != _official(name):
        if not stock or _is_official(_official(name)):
            raise CheckpointError(_wrong(head, found, "the same size with other weights"))
        log.warning(
            "The tag head %s was trained on the encoder of %s. Nothing shows whether %s has the same one",
            head.name,
            wanted.name,
            name,
        )


def _wrong(head: HeadInfo, found: EncoderInfo, how: str) -> str:
    return (
        f"the tag head {head.name} was trained on another encoder: expected that of {_told(head.encoder)}, "
        f"found {how}, that of {_told(found)}. Choose the model that it belongs to (model.name), a head that "
        "was made for this one (model.tags), or train one"
    )


def _told(encoder: EncoderInfo) -> str:
    parts = [f"{encoder.n_layer} layers of {encoder.n_state}"]
    parts += [f"{encoder.n_mels} mel bands"] if encoder.n_mels else []
    parts += (
        [f"fingerprint {encoder.fingerprint.removeprefix('sha256:')[:12]}"] if encoder.fingerprint else []
    )
    return f"{encoder.name} ({', '.join(parts)})"


def _official(name: str) -> str:
    """The official name in the one that a folder or the Hub has: tiny, in openai/whisper-tiny."""
    return name.rsplit("/", 1)[-1].removeprefix("whisper-")


def _is_official(name: str) -> bool:
    return any(f"{name}{suffix}" in TAG_HEADS for suffix in SUFFIXES) or find_official(name) is not None


# ---------------------------------------------------------------- loading and saving


def locate_head(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder or file that a name stands for; released heads may lie in openai-whisper's own cache."""
    try:
        return find_head(name_or_path)
    except ModelError:
        name = os.fspath(name_or_path).removesuffix(RELEASED_HEAD)
        cached = whisper_cache() / f"{name}{RELEASED_HEAD}"
        if name in TAG_HEADS and cached.is_file():
            return cached
        raise


def load_head(name_or_path: str | os.PathLike[str], n_layer: int | None = None) -> LoadedHead:
    """Load a tag head by name or path. `n_layer`: the encoder's, for released files of unknown sizes.

    Raises ModelError where there is none, CheckpointError where it is not what it should be.
    """
    path = locate_head(name_or_path)
    if not path.is_dir():
        return _load_released(path, n_layer)
    info = read_head_info(path)
    advice = f"Check that {HEAD_FILE} and {WEIGHTS} of {path} belong together"
    try:
        tensors = dequantise(load_file(path / WEIGHTS))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read the weights {path / WEIGHTS}: {error}. {advice}") from error
    return build_head(info, tensors, path, path / WEIGHTS, advice)


def build_head(
    info: HeadInfo, tensors: Mapping[str, Tensor], directory: Path, weights: Path, advice: str
) -> LoadedHead:
    """The head that a definition in `directory` describes, with these tensors.

    Raises CheckpointError where they do not belong together, ModelError for its label list.
    """
    about, encoder = info.tags, info.encoder
    labels = read_labels(directory / about.labels)
    head = fill(
        lambda: make_head(about.head, encoder.n_layer, encoder.n_state, len(labels), about.width),
        tensors,
        weights,
        advice,
    )
    _tell_own_labels(info.name, labels)
    return LoadedHead(info, head, labels, about.for_labels(labels, directory))


def save_head(
    directory: Path,
    info: HeadInfo,
    head: Head,
    labels: Sequence[Label],
    precision: Literal["int8", "fp16", "fp32"] = "fp16",
) -> HeadInfo:
    """Write a head as a folder that `load_head` gives back (to within the precision).

    Kind and width are taken from the module. Returns the definition written. Raises ModelError where
    labels, thresholds or encoder do not belong to the head.
    """
    if len(labels) != head.n_class:
        raise ModelError(f"expected {head.n_class} labels for the tag head, found {len(labels)}")
    encoder = info.encoder
    if (encoder.n_layer, encoder.n_state) != (head.n_layer, head.n_state):
        raise ModelError(
            f"expected the encoder of a head that reads {head.n_layer} layers of {head.n_state}, "
            f"found {_told(encoder)}"
        )
    info = info.model_copy(update={"tags": described(info.tags, head)})
    info = HeadInfo.model_validate(info.model_dump())
    info.tags.for_labels(labels, directory)
    _tell_own_labels(info.name, labels)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / HEAD_FILE).unlink(missing_ok=True)
    save_file(STORE[precision](head.state_dict()), directory / WEIGHTS)
    (directory / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    write_labels(directory / info.tags.labels, labels)
    write_definition(directory / HEAD_FILE, info)
    return info


def described(about: TagsInfo, head: Head) -> TagsInfo:
    """[tags] with what the module itself says."""
    return about.model_copy(update={"head": head.kind, "width": head.width})


def _load_released(path: Path, n_layer: int | None) -> LoadedHead:
    head = load_whisper_at(path, n_layer)
    labels = audioset()
    if head.n_class != len(labels):
        raise CheckpointError(
            f"{path}: expected AudioSet's {len(labels)} classes, found {head.n_class}. A head with labels of "
            f"its own is a folder with {HEAD_FILE}"
        )
    info = describe(path, head)
    return LoadedHead(info, head, labels, info.tags.for_labels(labels, path))


def _tell_own_labels(name: str, labels: Sequence[Label]) -> None:
    own = tuple(label.name for label in labels if not label.id)
    if own:
        _warn(name, own)


@cache
def _warn(name: str, own: tuple[str, ...]) -> None:
    """Once for each head, however often it is loaded."""
    log.warning(
        "Labels of %s that AudioSet has not, so that their events carry no id: %s", name, ", ".join(own)
    )
