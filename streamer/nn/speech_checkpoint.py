"""Loads what hears the waveform itself: wav2vec 2.0, HuBERT and WavLM in Hugging Face's layout, with their
heads, and wav2vec (v1) in fairseq's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from streamer.errors import CheckpointError, MissingExtraError
from streamer.labels import Label
from streamer.nn.emotion import EmotionHead, load_emotion
from streamer.nn.fill import fill
from streamer.nn.head_checkpoint import LoadedHead, check_encoder
from streamer.nn.heads import Head
from streamer.nn.hugging_face import CONFIG, name_of, read_json, read_tensors
from streamer.nn.letters import Letters, LettersHead, read_letters
from streamer.nn.speech import SpeechEncoder
from streamer.nn.wav2vec1 import Wav2Vec, is_wav2vec, load_wav2vec
from streamer.resources import nearest
from streamer.timebase import FRAME

FAMILIES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
"""model_type in config.json, which is also the prefix of the encoder's tensors -> transformers' classes."""

CTC = "ForCTC"
EMOTION = ("ForSequenceClassification", "ForSpeechClassification")
"""Hugging Face's own, and soxan's."""
ARCHITECTURES = ("Model", "ForPreTraining", CTC, *EMOTION)
"""What may follow the family's name in `architectures`."""

PREPROCESSOR = "preprocessor_config.json"
E_co = TypeVar("E_co", bound=SpeechEncoder | Wav2Vec, covariant=True)
_ONLY_FOR_TRAINING = ("masked_spec_embed", "quantizer.", "project_hid.", "project_q.")
_HEADS = ("lm_head.", "classifier.", "projector.", "layer_weights")
_WEIGHT_NORM = (
    ("weight_g", "parametrizations.weight.original0"),
    ("weight_v", "parametrizations.weight.original1"),
)


@dataclass(frozen=True, slots=True)
class SpeechInfo:
    """What clients are told of a checkpoint, under the names of `definition.ModelInfo`."""

    description: str
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedSpeech(Generic[E_co]):
    """A checkpoint, ready to use: modules in float32 and evaluation mode.

    ctc, letters: of a CTC checkpoint. emotion: of one that judges utterances. It hears no sounds by itself:
    tags, labels, thresholds, window are of a head that was trained for it, as in `LoadedModel`.
    """

    name: str
    info: SpeechInfo
    encoder: E_co
    ctc: LettersHead | None = None
    letters: Letters | None = None
    emotion: EmotionHead | None = None
    tags: Head | None = None
    labels: tuple[Label, ...] = ()
    thresholds: tuple[float, ...] = ()
    window: float | None = None
    words: None = None


def is_speech(directory: Path) -> bool:
    """Whether a folder holds a checkpoint of one of the families."""
    config = directory / CONFIG
    return config.is_file() and read_json(config).get("model_type") in FAMILIES


def is_waveform(path: Path) -> bool:
    """Whether a folder holds a checkpoint of one of the families, or a file a wav2vec (v1)."""
    return is_speech(path) if path.is_dir() else path.suffix == ".pt" and is_wav2vec(path)


def load_waveform(path: Path, language: str = "en") -> LoadedSpeech[SpeechEncoder | Wav2Vec]:
    """Load either. A wav2vec (v1) writes nothing, it is there for heads. Raises CheckpointError."""
    if path.is_dir():
        return load_speech(path, language)
    info = SpeechInfo("a wav2vec (v1) checkpoint of fairseq", (language,))
    return LoadedSpeech(path.stem, info, load_wav2vec(path))


def load_speech(directory: Path, language: str = "en") -> LoadedSpeech[SpeechEncoder]:
    """Load a folder in Hugging Face's layout. `language`: the one that it writes, of which no file tells.

    Raises CheckpointError for another kind of model, for tensors that are missing or of another shape, and
    for a CTC vocabulary without a blank; MissingExtraError without transformers.
    """
    config = read_json(directory / CONFIG)
    family, architecture = _kind(config, directory / CONFIG)
    _check_convolutions(config, directory / CONFIG)
    tensors = read_tensors(directory)
    encoder = SpeechEncoder(_body(family, config, tensors, directory), _normalises(directory))
    ctc = letters = emotion = None
    if architecture in EMOTION:
        emotion = load_emotion(config, tensors, encoder.n_state, encoder.n_layer, directory)
    if architecture == CTC:
        head = part(tensors, "lm_head.")
        outputs = len(head["bias"]) if "bias" in head else int(config.get("vocab_size", 32))
        letters = known = read_letters(directory, outputs)
        renamed = {f"out.{name}": tensor for name, tensor in head.items()}
        ctc = fill(
            lambda: LettersHead(encoder.n_state, known),
            renamed,
            directory,
            "Expected the layer lm_head of a CTC model",
        )
    info = SpeechInfo(f"a {FAMILIES[family]} checkpoint as published", (language,))
    return LoadedSpeech(name_of(directory), info, encoder, ctc, letters, emotion)


def with_head(loaded: LoadedSpeech[E_co], head: LoadedHead) -> LoadedSpeech[E_co]:
    """The same checkpoint, hearing sounds. Raises CheckpointError where the head reads another encoder."""
    check_encoder(head.info, loaded.name, loaded.encoder, stock=False)
    return replace(
        loaded,
        tags=head.head,
        labels=head.labels,
        thresholds=head.thresholds,
        window=head.info.tags.window,
    )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _kind(config: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """The family, and what the checkpoint is for."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(
            f"{path}: expected model_type {', '.join(FAMILIES)}, found {family!r}."
            f"{nearest(str(family), FAMILIES)}"
        )
    names = config.get("architectures") or [f"{FAMILIES[family]}Model"]
    for suffix in ARCHITECTURES:
        if str(names[0]).endswith(suffix):
            return family, suffix
    expected = ", ".join(FAMILIES[family] + suffix for suffix in ARCHITECTURES)
    raise CheckpointError(f"{path}: expected one of the architectures {expected}; found {names[0]!r}")


def _check_convolutions(config: Mapping[str, Any], path: Path) -> None:
    """Every published checkpoint of the families has one frame rate: refuse what has another."""
    hop = math.prod(config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)))
    kernels = tuple(config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2)))
    if hop != FRAME or kernels != (10, 3, 3, 3, 3, 2, 2) or config.get("add_adapter"):
        raise CheckpointError(
            f"{path}: expected the families' convolutions (kernels 10, 3, 3, 3, 3, 2, 2, a frame every "
            f"{FRAME} samples) and no adapter behind the encoder; found kernels "
            f"{', '.join(map(str, kernels))}, a frame every {hop} samples, "
            f"add_adapter {bool(config.get('add_adapter'))}"
        )


def _normalises(directory: Path) -> bool:
    """Whether the checkpoint wants its waveform normalised; by default it does, as in transformers."""
    path = directory / PREPROCESSOR
    return bool(read_json(path).get("do_normalize", True)) if path.exists() else True


def _body(
    family: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], directory: Path
) -> nn.Module:
    """transformers' bare encoder with its weights."""
    make = _maker(family, config)
    prefix = f"{family}."
    mine = part(tensors, prefix)
    if not mine:  # a bare encoder's names have no prefix
        mine = {name: tensor for name, tensor in tensors.items() if not name.startswith(_HEADS)}
    mine = {name: tensor for name, tensor in mine.items() if not name.startswith(_ONLY_FOR_TRAINING)}
    for old, new in _WEIGHT_NORM:
        mine = {name.replace(f"conv.{old}", f"conv.{new}"): tensor for name, tensor in mine.items()}
    advice = f"Expected a {FAMILIES[family]} whose {CONFIG} belongs to its tensors"
    return fill(make, mine, directory, advice)


def _maker(family: str, config: Mapping[str, Any]) -> Callable[[], nn.Module]:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(f"a {FAMILIES[family]} checkpoint", "hf") from error
    # Without masking, which is for training, the encoder has no vector to mask with.
    settings = dict(config) | {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    about = getattr(transformers, f"{FAMILIES[family]}Config").from_dict(settings)
    network: Callable[[Any], nn.Module] = getattr(transformers, f"{FAMILIES[family]}Model")
    return lambda: network(about)
