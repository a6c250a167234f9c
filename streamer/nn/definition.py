"""`model.toml` and `head.toml`: what a model or a tag head of ours is, where it came from, how well it does.

What there is to say of a tag head is the table `[tags]`, the same in both files: a model's own head has
it in `model.toml`, a head in a folder of its own in `head.toml`, beside `[encoder]`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from streamer.errors import CheckpointError
from streamer.labels import Label
from streamer.nn.silence import MARGIN
from streamer.resources import HEAD_FILE
from streamer.timebase import to_samples

if TYPE_CHECKING:  # a definition is read without torch
    from streamer.nn.whisper import WhisperDims

FILE = "model.toml"
WEIGHTS = "weights.safetensors"
"""Beside it."""
M = TypeVar("M", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Dims(_Part):
    """[dims]: sizes, under openai-whisper's names."""

    n_mels: PositiveInt
    n_audio_ctx: PositiveInt
    n_audio_state: PositiveInt
    n_audio_head: PositiveInt
    n_audio_layer: PositiveInt
    n_vocab: PositiveInt
    n_text_ctx: PositiveInt
    n_text_state: PositiveInt
    n_text_head: PositiveInt
    n_text_layer: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> Dims:
        for side in ("audio", "text"):
            state, head = getattr(self, f"n_{side}_state"), getattr(self, f"n_{side}_head")
            if state % head or state % 2:
                raise ValueError(
                    f"n_{side}_state ({state}) must be even and a multiple of n_{side}_head ({head})"
                )
        return self

    @classmethod
    def of(cls, dims: WhisperDims) -> Dims:
        """From the module's sizes."""
        return cls(**asdict(dims))

    def whisper(self) -> WhisperDims:
        """For the module."""
        from streamer.nn.whisper import WhisperDims

        return WhisperDims(**self.model_dump())


class TextInfo(_Part):
    """[text]: what the words look like."""

    style: str = "as spoken, with case and punctuation"
    decoder: Literal["attention", "ctc"] = "attention"
    """Which of its parts gives better text: the decoder, or the CTC branch."""
    timestamps: bool = True
    """Whether the decoder has learnt to write Whisper's timestamps."""
    vocabulary: str = "vocab.tiktoken"
    """A rank file beside the definition."""


class WordsInfo(_Part):
    """[words]: a model of words that guides the search through the CTC branch's output.

    See `streamer.asr.search.SearchOptions` for the weights.
    """

    file: str = "words.safetensors"
    """Beside the definition (see `streamer.asr.ngram`)."""
    weight: Annotated[float, Field(ge=0)] = 0.4
    bonus: float = 2.0
    unknown: float = -12.0
    decoder: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the decoder's opinion on the best texts where an utterance has ended; 0: it is not asked."""


class ContextInfo(_Part):
    """[context]: how much audio the encoder wants."""

    short: bool = False
    """Whether it may be given less than its full context; if not, audio is padded to 30 s.

    True for what was trained on contexts of every length, and where a margin was measured.
    """
    margin: Annotated[float, Field(ge=0, le=30)] = 0.0
    """Seconds of silence that its audio needs behind it at least, by measurement."""
    encoder: str = ""
    """The fingerprint of the weights that were measured; empty for what was trained so from the start."""
    thinned: bool = False
    """Whether, of the silence that fills a context up to 30 s, few frames may stand for the others (see
    `streamer.nn.silence`)."""

    @model_validator(mode="after")
    def _check(self) -> ContextInfo:
        if not self.short and (self.margin or self.encoder):
            raise ValueError("margin and encoder say what short = true was measured on; found short = false")
        if self.short and self.thinned:
            raise ValueError("a context is short or filled with thinned silence; found both true")
        return self

    @property
    def cut(self) -> bool:
        """Whether a pass needs less than 30 s of audio."""
        return self.short or self.thinned

    @property
    def samples(self) -> int:
        """Of silence behind the audio, in full, in what is cut."""
        return MARGIN if self.thinned else to_samples(self.margin)


class TagsInfo(_Part):
    """[tags]: the head that hears sounds."""

    head: Literal["last-mlp", "wa-mlp", "wa-tr", "tl-tr"] = "tl-tr"
    """Its kind (see `streamer.nn.heads`)."""
    width: PositiveInt | None = None
    """What it works in; unset is the encoder's own width."""
    pool: Literal[20] = 20
    """Encoder frames that a pooled token averages (`timebase.POOL`)."""
    window: Annotated[float, Field(gt=0, le=30)] = 4.0
    """Seconds that it was trained to judge at once."""
    labels: str = "labels.csv"
    """A label list beside the definition."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Score from which a label counts …"""
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """… and the labels for which it is another."""

    def for_labels(self, labels: Sequence[Label], where: Path) -> tuple[float, ...]:
        """The threshold of each label. Raises CheckpointError for thresholds of others."""
        unknown = set(self.thresholds) - {label.name for label in labels}
        if unknown:
            raise CheckpointError(
                f"{where}: thresholds for labels that {self.labels} has not: {', '.join(sorted(unknown))}"
            )
        return tuple(self.thresholds.get(label.name, self.threshold) for label in labels)


class EmotionInfo(_Part):
    """[emotion]: the head that judges how something was said (see `streamer.nn.emotion.LayersHead`)."""

    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    width: PositiveInt
    """Of its hidden layer."""
    pooling: Literal["mean", "sum", "max"] = "mean"
    """How an utterance's tokens become one."""
    kind: Literal["classes", "dimensions"] = "classes"
    """Whether one of the labels holds, or each has a value."""


class EncoderInfo(_Part):
    """[encoder]: which encoder a head reads. Anything else would give it features that it never saw."""

    name: str
    """The model that it was trained on."""
    n_layer: PositiveInt
    n_state: PositiveInt
    n_mels: PositiveInt | None = None
    """Mel bands; unset where a head's file does not tell."""
    fingerprint: str = ""
    """See `streamer.nn.head_checkpoint.fingerprint`; empty where a head's file does not tell."""


class HeadInfo(_Part):
    """The whole of a `head.toml`."""

    name: str
    description: str = ""
    licence: str = ""
    data: str = ""
    """What it learnt from, and how."""
    encoder: EncoderInfo
    tags: TagsInfo
    scores: dict[str, float] = {}
    """Measured, e.g. `esc50_accuracy = 80.1`."""


class EmotionHeadInfo(_Part):
    """The whole of an `emotion.toml`."""

    name: str
    description: str = ""
    licence: str = ""
    data: str = ""
    """What it learnt from, and how."""
    encoder: EncoderInfo
    emotion: EmotionInfo
    scores: dict[str, float] = {}
    """Measured, e.g. `uar = 0.51`."""


class CtcInfo(_Part):
    """[ctc]: a linear branch on the encoder, blank first."""

    tokens: PositiveInt
    """Outputs beside the blank."""
    late: Annotated[int, Field(ge=0)] = 0
    """Frames that the branch, as a rule, writes a piece after it began; words are told as much earlier."""


class ModelInfo(_Part):
    """The whole of a `model.toml`."""

    name: str
    description: str = ""
    family: Literal["whisper"] = "whisper"
    licence: str = ""
    provenance: str = ""
    """Data and recipe it was made with."""
    sample_rate: Literal[16000] = 16000
    languages: tuple[str, ...] = ("en",)
    """Codes; a vocabulary of its own has language tokens only where there are several."""
    alignment_heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) of the decoder whose attention follows the audio; none: the later half of the layers."""
    dims: Dims
    text: TextInfo = TextInfo()
    context: ContextInfo = ContextInfo()
    tags: TagsInfo | None = None
    ctc: CtcInfo | None = None
    words: WordsInfo | None = None
    scores: dict[str, float] = {}
    """Measured, e.g. `an4_test_wer = 0.12`; the card says how."""

    @model_validator(mode="after")
    def _check(self) -> ModelInfo:
        for layer, head in self.alignment_heads:
            if not (0 <= layer < self.dims.n_text_layer and 0 <= head < self.dims.n_text_head):
                raise ValueError(
                    f"alignment head ({layer}, {head}) is not among the decoder's "
                    f"{self.dims.n_text_layer} layers of {self.dims.n_text_head} heads"
                )
        return self

    def filled(self, silence: str) -> ModelInfo:
        """With what `model.silence` says of the silence; a short context has none that could be thinned."""
        if silence != "thinned" or self.context.short:
            return self
        return self.model_copy(update={"context": ContextInfo(thinned=True)})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Where a model's vocabulary is; `streamer.asr.tokenizer.load_tokenizer` reads it."""

    kind: Literal["ranks", "official", "hugging-face"]
    path: Path | None
    n_vocab: int
    languages: tuple[str, ...] = ()

    @classmethod
    def beside(cls, directory: Path, info: ModelInfo) -> Vocabulary:
        """The rank file that a definition names."""
        languages = info.languages if len(info.languages) > 1 else ()
        return cls("ranks", directory / info.text.vocabulary, info.dims.n_vocab, languages)


def read_info(directory: Path) -> ModelInfo:
    """Read a model's definition. Raises CheckpointError naming the file and every key that is wrong."""
    return _read(directory / FILE, ModelInfo, "model")


def read_head_info(directory: Path) -> HeadInfo:
    """Read a tag head's definition. Raises CheckpointError naming the file and every key that is wrong."""
    return _read(directory / HEAD_FILE, HeadInfo, "head")


def read_emotion_info(path: Path) -> EmotionHeadInfo:
    """Read an emotion head's definition. Raises CheckpointError naming file and wrong keys."""
    return _read(path, EmotionHeadInfo, "emotion head")


def _read(path: Path, kind: type[M], what: str) -> M:
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or what}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{path}: {faults}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the {what} definition {path}: {error}") from error


def write_definition(path: Path, info: ModelInfo | HeadInfo | EmotionHeadInfo) -> None:
    """Write a definition whole or not at all: a folder without one is no model, and no head."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(to_toml(info), encoding="utf-8")
    part.replace(path)


def to_toml(info: ModelInfo | HeadInfo | EmotionHeadInfo) -> str:
    """The definition as `read_info` and `read_head_info` read it; what is unset is left out."""
    return "\n".join(_table((), info.model_dump(exclude_none=True)))


def _table(path: tuple[str, ...], content: Mapping[str, Any]) -> list[str]:
    values = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(path)}]"] if path and (values or not tables) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    lines += [""] if lines else []
    for key, table in tables.items():
        lines += _table((*path, _key(key)), table)
    return lines


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
