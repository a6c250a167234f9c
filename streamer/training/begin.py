"""Beginning from a model of ours instead of a teacher: its weights and its vocabulary."""

from __future__ import annotations

import shutil
from pathlib import Path

from streamer.asr.bytepairs import read_ranks
from streamer.asr.tokenizer import Tokenizer
from streamer.errors import CheckpointError
from streamer.nn.checkpoint import LoadedModel, load
from streamer.nn.whisper import Whisper
from streamer.training.speech import SpeechModel


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
    return model
