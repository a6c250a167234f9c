"""A whole model with random weights, small enough that a pass costs a millisecond."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import torch

from streamer.asr.tokenizer import Tokenizer
from streamer.labels import Label
from streamer.nn.checkpoint import LoadedModel, save
from streamer.nn.definition import ContextInfo, CtcInfo, Dims, ModelInfo, TagsInfo, TextInfo, Vocabulary
from streamer.nn.heads import CtcHead, TimeLayerTransformer
from streamer.nn.whisper import Whisper, WhisperDims

LABELS = (Label("Dog", "/m/0bt9lr"), Label("Siren", "/m/03kmc9"), Label("My doorbell", ""))


def tiny_tokenizer() -> Tokenizer:
    """One token a byte."""
    return Tokenizer.from_ranks({bytes([i]): i for i in range(256)})


def tiny_model(seed: int = 0, decoder: str = "ctc", tag_bias: float = 0.0) -> LoadedModel:
    """Random weights; `tag_bias` raises or lowers every sound's logit."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    dims = WhisperDims(80, 1500, 64, 2, 2, tokenizer.n_vocab, 448, 32, 2, 2)
    whisper = Whisper(dims)
    torch.nn.init.normal_(whisper.decoder.token_embedding.weight, std=0.3)
    tags = TimeLayerTransformer(2, 64, len(LABELS), 32)
    torch.nn.init.constant_(tags.mlp_layer[1].bias, tag_bias)
    ctc = CtcHead(64, 256)
    info = ModelInfo(
        name="tiny",
        dims=Dims.of(dims),
        text=TextInfo(decoder="ctc" if decoder == "ctc" else "attention"),
        context=ContextInfo(short=True),
        tags=TagsInfo(width=32),
        ctc=CtcInfo(tokens=256),
    )
    vocabulary = Vocabulary("ranks", Path("unused"), tokenizer.n_vocab)
    return LoadedModel(
        "tiny", info, whisper.eval(), vocabulary, tags.eval(), ctc.eval(), LABELS, (0.5,) * len(LABELS)
    )


def save_tiny(
    folder: Path,
    model: LoadedModel | None = None,
    precision: Literal["int8", "mixed", "fp32"] = "int8",
) -> Path:
    """A model, with its word model, in a folder that `load` reads; the vocabulary is `tiny_tokenizer`'s."""
    model = model or tiny_model()
    ranks = folder.with_name(f"{folder.name}.tiktoken")
    ranks.write_text("".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256)))
    save(
        folder,
        model.info,
        model.model,
        ranks,
        tags=model.tags,
        labels=model.labels,
        ctc=model.ctc,
        words=model.words,
        precision=precision,
    )
    return folder
