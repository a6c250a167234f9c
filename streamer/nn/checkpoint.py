"""Loads every kind of checkpoint into the one module, and writes our own kind.

* a folder with `model.toml`: ours (see `definition`), `weights.safetensors` with the tensors of
  `encoder.`, `decoder.` (openai-whisper's names), `tags.`, `ctc.`, possibly quantised;
* a folder with `config.json`: Hugging Face's layout, also by its id on the Hub;
* a `.pt` file: openai-whisper's; a Whisper-AT head beside it (`NAME_ori.pth`, `NAME_low.pth`)
  comes along.

Any of them takes another tag head (`head_checkpoint`) instead of its own, if it was made for its encoder.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streamer.errors import CheckpointError, ModelError
from streamer.labels import Label, write_labels
from streamer.nn import hugging_face
from streamer.nn.definition import (
    FILE,
    WEIGHTS,
    CtcInfo,
    Dims,
    EncoderInfo,
    HeadInfo,
    ModelInfo,
    TagsInfo,
    Vocabulary,
    WordsInfo,
    read_info,
    write_definition,
)
from streamer.nn.emotion import EmotionHead
from streamer.nn.fill import fill
from streamer.nn.head_checkpoint import (
    LoadedHead,
    build_head,
    check_encoder,
    described,
    fingerprint,
    load_head,
)
from streamer.nn.heads import CtcHead, Head
from streamer.nn.official import find_official, whisper_cache
from streamer.nn.quantise import STORE, dequantise
from streamer.nn.whisper import Whisper, WhisperDims, sinusoids
from streamer.nn.whisper_at import beside
from streamer.resources import find_model, user_models_dir

log = logging.getLogger(__name__)

_POSITIONS = "encoder.positional_embedding"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A checkpoint, ready to use: modules in float32 and evaluation mode.

    tags: the head that hears sounds, with its labels and a threshold for each; None (and none) without.
    words: the file of its word model. emotion: a head that judges how something was said. short_context:
    whether it may be given less than its full context.
    """

    name: str
    info: ModelInfo
    model: Whisper
    vocabulary: Vocabulary
    tags: Head | None = None
    ctc: CtcHead | None = None
    labels: tuple[Label, ...] = ()
    thresholds: tuple[float, ...] = ()
    words: Path | None = None
    emotion: EmotionHead | None = None

    @property
    def short_context(self) -> bool:
        """Whether it may be given less than its full context."""
        return self.info.context.short

    @property
    def window(self) -> float | None:
        """Seconds that the tag head was trained to judge at once; None without one."""
        return self.info.tags.window if self.info.tags else None


def load(name_or_path: str | os.PathLike[str], tags: str | os.PathLike[str] | None = None) -> LoadedModel:
    """Load a model by name, by Hugging Face id, or from a path.

    `tags`: a tag head to go with it instead of its own, by name or path (see `head_checkpoint`).
    Raises ModelError where there is none, CheckpointError where it is not what it should be.
    """
    path = locate(name_or_path)
    if path.is_dir():
        loaded = load_own(path) if (path / FILE).is_file() else load_hugging_face(path)
    else:
        loaded = load_openai(path)
    if tags is not None:
        return with_head(loaded, load_head(tags, loaded.model.dims.n_audio_layer))
    return loaded


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder or file that a name stands for; official names may lie in openai-whisper's own cache."""
    text = os.fspath(name_or_path)
    try:
        return find_model(name_or_path)
    except ModelError as error:
        official = find_official(text)
        if official is not None:
            for folder in (user_models_dir(), whisper_cache()):
                if (folder / official.file).is_file():
                    return folder / official.file
            raise ModelError(
                f"the official model '{text}' is not on this machine. "
                f"Fetch it with: streamer models pull {text}"
            ) from error
        if text.count("/") == 1 and not Path(text).exists() and not text.startswith((".", "~", "/")):
            return hugging_face.fetch(text)
        raise


def load_own(directory: Path) -> LoadedModel:
    """Load a folder with `model.toml`."""
    info = read_info(directory)
    path = directory / WEIGHTS
    advice = f"Check that {FILE} and {WEIGHTS} of {directory} belong together"
    try:
        tensors = dequantise(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}. {advice}") from error
    parts: dict[str, dict[str, Tensor]] = {"tags": {}, "ctc": {}}
    whisper: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
        else:
            whisper[name] = tensor
    dims = info.dims.whisper()
    whisper.setdefault(_POSITIONS, sinusoids(dims.n_audio_ctx, dims.n_audio_state))
    model = fill(lambda: Whisper(dims, list(info.alignment_heads)), whisper, path, advice)
    if info.context.encoder and info.context.encoder != fingerprint(model.encoder):
        raise CheckpointError(
            f"{directory}: [context] in {FILE} allows short contexts that were measured with another "
            f"encoder than the one in {WEIGHTS}. Measure this one with `streamer train context`, or take "
            "that table out"
        )
    for part, said in (("tags", info.tags), ("ctc", info.ctc)):
        if parts[part] and said is None:
            raise CheckpointError(f"{path} holds tensors '{part}.', but {FILE} has no [{part}]. {advice}")
    ctc, heard = None, None
    if info.tags is not None:
        encoder = EncoderInfo(name=info.name, n_layer=dims.n_audio_layer, n_state=dims.n_audio_state)
        about = HeadInfo(name=info.name, encoder=encoder, tags=info.tags)
        heard = build_head(about, parts["tags"], directory, path, advice)
    if (branch := info.ctc) is not None:
        ctc = fill(lambda: CtcHead(dims.n_audio_state, branch.tokens), parts["ctc"], path, advice)
    words = directory / info.words.file if info.words is not None else None
    loaded = LoadedModel(info.name, info, model, Vocabulary.beside(directory, info), ctc=ctc, words=words)
    return _hearing(loaded, heard) if heard is not None else loaded


def load_hugging_face(directory: Path) -> LoadedModel:
    """Load a folder in Hugging Face's layout."""
    dims, tensors, heads = hugging_face.read_directory(directory)
    model = fill(
        lambda: Whisper(dims, heads),
        tensors,
        directory,
        f"Expected a Whisper for conditional generation whose {hugging_face.CONFIG} belongs to its tensors",
    )
    info = _stock_info(hugging_face.name_of(directory), dims, model)
    return LoadedModel(info.name, info, model, Vocabulary("hugging-face", directory, dims.n_vocab))


def load_openai(path: Path) -> LoadedModel:
    """Load an openai-whisper checkpoint and a Whisper-AT head beside it, if there is one."""
    advice = "Expected an openai-whisper checkpoint: a .pt file with 'dims' and 'model_state_dict'"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        dims = WhisperDims(**{name: int(value) for name, value in content["dims"].items()})
        tensors: dict[str, Tensor] = dict(content["model_state_dict"])
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. {advice}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path}: {advice}; found {type(error).__name__}: {error}") from error
    official = find_official(path.stem)
    heads: list[tuple[int, int]] | None = None
    if official is not None:
        heads = official.alignment_heads(dims.n_text_layer, dims.n_text_head)
    model = fill(lambda: Whisper(dims, heads), tensors, path, advice)
    info = _stock_info(path.stem, dims, model)
    loaded = LoadedModel(info.name, info, model, Vocabulary("official", None, dims.n_vocab))
    released = beside(path)
    return with_head(loaded, load_head(released, dims.n_audio_layer)) if released is not None else loaded


def with_head(loaded: LoadedModel, head: LoadedHead) -> LoadedModel:
    """The same model with another tag head. Raises CheckpointError where that reads another encoder."""
    check_encoder(head.info, loaded.name, loaded.model, stock=loaded.vocabulary.kind != "ranks")
    return _hearing(loaded, head)


def _hearing(loaded: LoadedModel, head: LoadedHead) -> LoadedModel:
    return replace(
        loaded,
        info=loaded.info.model_copy(update={"tags": head.info.tags}),
        tags=head.head,
        labels=head.labels,
        thresholds=head.thresholds,
    )


def save(
    directory: Path,
    info: ModelInfo,
    model: Whisper,
    vocabulary: Path,
    *,
    tags: Head | None = None,
    labels: Sequence[Label] = (),
    ctc: CtcHead | None = None,
    words: Path | None = None,
    precision: Literal["int8", "mixed", "fp16", "fp32"] = "int8",
) -> ModelInfo:
    """Write a model of ours so that `load` gives it back (to within the precision).

    What the definition says of sizes is taken from the modules. `vocabulary` is a rank file and `words` a
    word model, copied.
    Returns the definition written. Raises ModelError where labels and tag head do not belong together.
    """
    classes = tags.n_class if tags is not None else 0
    if len(labels) != classes:
        raise ModelError(f"expected {classes} labels for the tag head, found {len(labels)}")
    update: dict[str, object] = {"dims": Dims.of(model.dims), "alignment_heads": tuple(model.alignment_heads)}
    late = info.ctc.late if info.ctc is not None else 0
    update["ctc"] = CtcInfo(tokens=ctc.out.out_features - 1, late=late) if ctc is not None else None
    update["tags"] = described(info.tags or TagsInfo(), tags) if tags is not None else None
    update["words"] = (info.words or WordsInfo()) if words is not None else None
    info = ModelInfo.model_validate(info.model_copy(update=update).model_dump())

    tensors = {name: t for name, t in model.state_dict().items() if name != _POSITIONS}
    for prefix, part in (("tags", tags), ("ctc", ctc)):
        if isinstance(part, nn.Module):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in part.state_dict().items()}
    stored = STORE[precision](tensors)
    directory.mkdir(parents=True, exist_ok=True)
    # The definition comes last: a folder without one is no model, so a killed save leaves none that is half.
    (directory / FILE).unlink(missing_ok=True)
    save_file(stored, directory / WEIGHTS)
    (directory / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    _copy(vocabulary, directory / info.text.vocabulary)
    if words is not None and info.words is not None:
        _copy(words, directory / info.words.file)
    if info.tags is not None:
        write_labels(directory / info.tags.labels, labels)
    write_definition(directory / FILE, info)
    return info


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


def _stock_info(name: str, dims: WhisperDims, model: Whisper) -> ModelInfo:
    """What is known of a checkpoint without a definition: it wants its full context."""
    return ModelInfo(
        name=name,
        description="a Whisper checkpoint as published",
        dims=Dims.model_validate(asdict(dims)),
        alignment_heads=tuple(model.alignment_heads),
    )
