"""Emotion heads on a frozen encoder, in folders of their own: `emotion.toml` and `emotion.safetensors`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streamer.errors import CheckpointError, ModelError
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import EmotionHeadInfo, EncoderInfo, read_emotion_info, write_definition
from streamer.nn.emotion import EmotionHead, LayersHead
from streamer.nn.fill import fill
from streamer.nn.head_checkpoint import encoder_info
from streamer.nn.speech import SpeechEncoder
from streamer.nn.speech_checkpoint import LoadedSpeech
from streamer.nn.wav2vec1 import Wav2Vec
from streamer.nn.whisper import Whisper
from streamer.resources import user_models_dir

FILE = "emotion.toml"
WEIGHTS = "emotion.safetensors"
M = TypeVar("M", LoadedModel, LoadedSpeech[Any])


@dataclass(frozen=True, slots=True)
class LoadedEmotion:
    """A head, ready to use, and what is known of it."""

    info: EmotionHeadInfo
    head: EmotionHead


def locate_emotion(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of an emotion head: a path, or a name among the user's models. Raises ModelError."""
    text = os.fspath(name_or_path)
    for folder in (Path(text).expanduser(), user_models_dir() / text):
        if (folder / FILE).is_file():
            return folder
    raise ModelError(
        f"expected an emotion head, a folder with {FILE}, at {text} or by that name in {user_models_dir()}; "
        "found none. `streamer train emotion` makes one"
    )


def load_emotion_head(name_or_path: str | os.PathLike[str]) -> LoadedEmotion:
    """Load a head by name or path.

    Raises ModelError where there is none, CheckpointError where it is not what it should be.
    """
    folder = locate_emotion(name_or_path)
    info, weights = read_emotion_info(folder / FILE), folder / WEIGHTS
    advice = f"Check that {FILE} and {WEIGHTS} of {folder} belong together"
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the weights {weights}: {error}. {advice}") from error
    about, encoder = info.emotion, info.encoder
    head = fill(
        lambda: LayersHead(encoder.n_layer, encoder.n_state, about.width, len(about.labels), about.pooling),
        tensors,
        weights,
        advice,
    )
    return LoadedEmotion(info, EmotionHead(head, about.labels, about.kind))


def save_emotion_head(directory: Path, info: EmotionHeadInfo, head: LayersHead) -> None:
    """Write a head as a folder that `load_emotion_head` gives back.

    Raises ModelError where labels, sizes or pooling of the definition are not the head's.
    """
    about = info.emotion
    wanted = (*head.mean.shape, head.dense.out_features, head.out_proj.out_features, head.pooling)
    told = (info.encoder.n_layer, info.encoder.n_state, about.width, len(about.labels), about.pooling)
    if wanted != told:
        raise ModelError(
            "expected layers, their width, the head's width, labels and pooling to be the head's, "
            f"{', '.join(map(str, wanted))}; found {', '.join(map(str, told))}"
        )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).unlink(missing_ok=True)  # comes last: a folder without it is no head
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, directory / WEIGHTS)
    (directory / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    write_definition(directory / FILE, info)


def with_emotion(loaded: M, network: Whisper | SpeechEncoder | Wav2Vec, emotion: LoadedEmotion) -> M:
    """The same model, whose encoder `network` is or has, with a head that judges emotion.

    Raises CheckpointError where the head was trained on another encoder.
    """
    wanted, found = emotion.info.encoder, encoder_info(loaded.name, network)
    if wanted.fingerprint != found.fingerprint:
        raise CheckpointError(
            f"the emotion head {emotion.info.name} was trained on another encoder: expected that of "
            f"{_told(wanted)}, found that of {_told(found)}. Choose the model that it belongs to "
            "(model.name), or train a head for this one (streamer train emotion)"
        )
    return replace(loaded, emotion=emotion.head)


def _told(encoder: EncoderInfo) -> str:
    mark = encoder.fingerprint.removeprefix("sha256:")[:12]
    return f"{encoder.name} ({encoder.n_layer} layers of {encoder.n_state}, fingerprint {mark})"
