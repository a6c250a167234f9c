"""openai-whisper models with random weights: the reference that ours must equal."""

from __future__ import annotations

import pytest
import torch

from streamer.nn.whisper import Whisper, WhisperDims

TINY = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 384,
    "n_audio_head": 6,
    "n_audio_layer": 4,
    "n_vocab": 51865,
    "n_text_ctx": 448,
    "n_text_state": 384,
    "n_text_head": 6,
    "n_text_layer": 4,
}
BASE = {
    **TINY,
    "n_audio_state": 512,
    "n_audio_head": 8,
    "n_audio_layer": 6,
    "n_text_state": 512,
    "n_text_head": 8,
    "n_text_layer": 6,
}
NARROW = {
    **TINY,
    "n_audio_state": 64,
    "n_audio_head": 2,
    "n_audio_layer": 2,
    "n_text_state": 64,
    "n_text_head": 2,
    "n_text_layer": 2,
}


def reference(dims, seed=0, end_bias=0.0):
    """An openai-whisper model that says something different at every position.

    `end_bias` is added to the logit of the end of text, so that transcripts end.
    """
    model_module = pytest.importorskip("whisper.model")
    generator = torch.Generator().manual_seed(seed)
    model = model_module.Whisper(model_module.ModelDimensions(**dims)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                # Wide weights: attention that looks somewhere, outputs that depend on it.
                fan_in = parameter[0].numel()
                parameter.normal_(0, 1.5 * fan_in**-0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
        decoder = model.decoder
        decoder.positional_embedding.normal_(0, 0.5, generator=generator)
        decoder.token_embedding.weight.normal_(0, 0.3, generator=generator)
        eot = 50256 if dims["n_vocab"] < 51865 else 50257
        vector = decoder.token_embedding.weight[min(eot, dims["n_vocab"] - 1)]
        decoder.ln.bias.copy_(vector * (end_bias / vector.square().sum()))
    return model


def ours(theirs):
    """Our module with the same weights."""
    model = Whisper(WhisperDims(**vars(theirs.dims))).eval()
    model.load_state_dict(theirs.state_dict())
    return model
