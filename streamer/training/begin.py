"""Where a training begins: a model of ours instead of a teacher, and timestamps that are in order."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from streamer.asr.bytepairs import read_ranks
from streamer.asr.tokenizer import TIMESTAMPS, Tokenizer
from streamer.errors import CheckpointError
from streamer.nn.checkpoint import LoadedModel, load
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.timebase import FRAMES_PER_SECOND
from streamer.training.speech import UNREADABLE, SpeechModel

N_MELS = 80
"""Mel bands of the batches; the teacher must have as many."""
HEAD_WIDTH = 64
"""Width of an attention head in every official Whisper encoder."""


def read_teacher(path: Path) -> dict[str, Tensor]:
    """A Whisper encoder's tensors by openai-whisper's names, `encoder.` in front.

    From a safetensors file, or a checkpoint of openai-whisper (`.pt`). Raises CheckpointError.
    """
    advice = "Expected a Whisper's encoder: a safetensors file, or an official checkpoint such as base.pt"
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    except (*UNREADABLE, SafetensorError) as error:
        raise CheckpointError(f"cannot read the teacher {path}: {error}. {advice}") from error
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    if (conv := encoder.get("encoder.conv1.weight")) is None:
        raise CheckpointError(f"the teacher {path} has no tensor 'encoder.conv1.weight'. {advice}")
    if conv.shape[1] != N_MELS or conv.shape[0] % HEAD_WIDTH:
        raise CheckpointError(
            f"expected a teacher with {N_MELS} mel bands and heads of width {HEAD_WIDTH}, found {path} with "
            f"{conv.shape[1]} bands and width {conv.shape[0]}: take tiny, base, small or medium"
        )
    return encoder


def fresh_model(
    teacher: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    text_state: int,
    text_layer: int,
    text_head: int,
    seed: int,
) -> SpeechModel:
    """The teacher's encoder under a decoder and a CTC branch that have learnt nothing."""
    width = teacher["encoder.conv1.weight"].shape[0]
    dims = WhisperDims(
        n_mels=N_MELS,
        n_audio_ctx=1500,
        n_audio_state=width,
        n_audio_head=width // HEAD_WIDTH,
        n_audio_layer=1 + max(int(k.split(".")[2]) for k in teacher if k.startswith("encoder.blocks.")),
        n_vocab=tokenizer.n_vocab,
        n_text_ctx=448,
        n_text_state=text_state,
        n_text_head=text_head,
        n_text_layer=text_layer,
    )
    torch.manual_seed(seed)
    whisper = Whisper(dims)
    torch.nn.init.normal_(whisper.decoder.token_embedding.weight, std=0.05)
    arrange_timestamps(whisper.decoder.token_embedding)
    whisper.encoder.load_state_dict({k.removeprefix("encoder."): v.float() for k, v in teacher.items()})
    return SpeechModel(whisper, tokenizer.eot)


def read_beginning(path: Path) -> LoadedModel:
    """A model of ours with a CTC branch, by its folder or name. Raises ModelError for what is none."""
    loaded = load(path)
    if loaded.ctc is None or loaded.vocabulary.kind != "ranks":
        raise CheckpointError(
            f"--from: expected a model of this recipe, with a CTC branch and a vocab.tiktoken, found {path} "
            "without: begin from a folder that streamer train bundled has written, or from a --teacher"
        )
    return loaded


def adopt_vocabulary(loaded: LoadedModel, target: Path) -> None:
    """Copy the model's vocabulary to `target` unless it is there. Raises CheckpointError for another one."""
    source = loaded.vocabulary.path
    assert source is not None  # as read_beginning saw to
    if not target.exists():
        scratch = target.with_suffix(".part")
        shutil.copyfile(source, scratch)
        scratch.replace(target)
    elif read_ranks(source) != read_ranks(target):
        raise CheckpointError(
            f"expected {target} to be the vocabulary of {loaded.name}, "
            "which training is to begin from, found another one: take a fresh work folder "
            "(packs may be copied over)"
        )


def speech_model(
    loaded: LoadedModel, tokenizer: Tokenizer, text_state: int, text_layer: int, text_head: int
) -> SpeechModel:
    """The model's encoder, decoder and CTC branch, to train on; sizes as the configuration expects them.

    Raises CheckpointError where it has others.
    """
    dims = loaded.model.dims
    pieces = loaded.ctc.out.out_features - 1 if loaded.ctc is not None else 0
    for what, expected, found in (
        ("text_state", text_state, dims.n_text_state),
        ("text_layer", text_layer, dims.n_text_layer),
        ("text_head", text_head, dims.n_text_head),
        ("tokens in all", tokenizer.n_vocab, dims.n_vocab),
        ("pieces of text", tokenizer.eot, pieces),
        ("mel bands", 80, dims.n_mels),
    ):
        if expected != found:
            raise CheckpointError(
                f"expected the model {loaded.name}, which training is to begin from, to have {what} = "
                f"{expected}, found {found}: put its sizes into the configuration, or begin from a --teacher"
            )
    model = SpeechModel(Whisper(dims, loaded.model.alignment_heads), pieces)
    model.whisper.load_state_dict(loaded.model.state_dict())
    if loaded.ctc is not None:
        model.ctc.load_state_dict(loaded.ctc.state_dict())
    if not loaded.info.text.timestamps:
        arrange_timestamps(model.whisper.decoder.token_embedding)
    return model


@torch.no_grad()
def arrange_timestamps(embedding: nn.Embedding) -> None:
    """Put the embeddings (V, D) of the timestamps, the last rows, on a curve along which time passes.

    Sines and cosines of periods from 0.4 s to 120 s, as long as the other tokens are: what is said at one
    time is nearly right for the next, so that 1501 times need not be learnt one by one.
    """
    rows, width = embedding.weight.shape
    first = rows - TIMESTAMPS
    seconds = torch.arange(TIMESTAMPS) / FRAMES_PER_SECOND
    periods = torch.logspace(math.log10(0.4), math.log10(120), width // 2)
    phase = 2 * math.pi * seconds[:, None] / periods
    length = embedding.weight[:first].norm(dim=1).mean() / math.sqrt(width // 2)
    embedding.weight[first:] = length * torch.cat([phase.sin(), phase.cos()], dim=1)
