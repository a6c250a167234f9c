"""Other people's Whisper on the same utterance: random weights of an official size, token counts forced."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from streamer.audio.mel import log_mel
from streamer.errors import ConfigError, MissingExtraError
from streamer.evaluation.engine_cost import FINAL, Run, Samples, made_up_tokenizer, official, random_model
from streamer.evaluation.peak import encoder_work
from streamer.evaluation.whisper_cpp import WhisperCpp
from streamer.nn.whisper import Attention, Block, Whisper, WhisperDims
from streamer.resources import nearest
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

if TYPE_CHECKING:
    from streamer.evaluation.engine_cost import Maker

FULL = FULL_CONTEXT / SAMPLE_RATE


def make_peers(size: str, wanted: Sequence[str]) -> list[Maker]:
    """The named ones at an official size. Raises ConfigError for other names, MissingExtraError."""
    makers: dict[str, Callable[[WhisperDims], Maker]] = {
        "openai-whisper": OpenAIWhisper,
        "ctranslate2": CTranslate2,
        "whisper.cpp": WhisperCpp,
    }
    for name in wanted:
        if name not in makers:
            raise ConfigError(f"expected one of {', '.join(makers)}, found {name!r}.{nearest(name, makers)}")
    return [makers[name](official(size)) for name in wanted]


class OpenAIWhisper:
    """openai-whisper as shipped: float32, padded to 30 s. Greedy and without timestamps: its cheapest way."""

    def __init__(self, dims: WhisperDims) -> None:
        try:
            import whisper
            from whisper.model import ModelDimensions
        except ImportError as error:
            raise MissingExtraError("a comparison with openai-whisper", "peers") from error
        self._whisper: Any = whisper
        self._work = encoder_work(dims, FULL_CONTEXT // FRAME)
        self._model = whisper.model.Whisper(ModelDimensions(**asdict(dims))).eval()
        for parameter in self._model.parameters():
            nn.init.normal_(parameter, std=0.02)  # some are left as memory was

    def __call__(self, samples: Samples, count: int, threads: int) -> list[Run]:
        """Whole and encoder; torch's number of `threads` is the caller's business."""
        del threads
        eot = self._whisper.tokenizer.get_tokenizer(self._model.is_multilingual).eot
        options = self._whisper.DecodingOptions(
            language="en", fp16=False, without_timestamps=True, sample_len=count, suppress_tokens=[-1, eot]
        )

        def mel() -> Tensor:
            found: Tensor = self._whisper.log_mel_spectrogram(self._whisper.pad_or_trim(samples))
            return found

        features = mel()[None]
        written = self._model.decode(mel(), options).tokens
        name = "openai-whisper"
        return [
            Run(name, FINAL, "fp32", FULL, lambda: self._model.decode(mel(), options), len(written)),
            Run(name, "encoder", "fp32", FULL, lambda: self._model.encoder(features), work=self._work),
        ]


class CTranslate2:
    """CTranslate2 int8, which faster-whisper runs: padded to 30 s as that does, and on the utterance alone.

    Greedy, which is cheaper than faster-whisper's beams.
    """

    def __init__(self, dims: WhisperDims) -> None:
        try:
            import ctranslate2
        except ImportError as error:
            raise MissingExtraError("a comparison with CTranslate2", "peers") from error
        self._ctranslate2: Any = ctranslate2
        self._tokenizer = made_up_tokenizer(dims.n_vocab)
        self.source = random_model(dims).model
        """The same weights, not quantised."""
        self._folder = tempfile.TemporaryDirectory(prefix="streamer-ctranslate2-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name) / "model"
        self._convert(self.source)

    def __call__(self, samples: Samples, count: int, threads: int) -> list[Run]:
        """Whole and encoder, at 30 s and at the utterance's length."""
        model = self._ctranslate2.models.Whisper(
            str(self._path), device="cpu", compute_type="int8", intra_threads=threads
        )
        prompt = [self._tokenizer.sot, self._tokenizer.no_timestamps]

        def features(length: int) -> Any:
            padded = np.pad(samples, (0, max(0, length - len(samples))))
            return self._ctranslate2.StorageView.from_array(log_mel(padded)[None])

        def final(length: int) -> Any:
            return model.generate(
                features(length),
                [prompt],
                beam_size=1,
                max_length=max(2 * count, len(prompt) + count),  # half of it may be text
                suppress_tokens=[-1, self._tokenizer.eot],
            )[0].sequences_ids[0]

        runs = []
        for length in dict.fromkeys((FULL_CONTEXT, len(samples))):
            seconds, view = length / SAMPLE_RATE, features(length)
            written = len(final(length))
            name = "CTranslate2"
            work = encoder_work(self.source.dims, length // FRAME)
            encode = partial(model.encode, view)
            runs += [
                Run(name, FINAL, "int8", seconds, partial(final, length), written),
                Run(name, "encoder", "int8", seconds, encode, work=work),
            ]
        return runs

    def _convert(self, model: Whisper) -> None:
        """Write `model` as CTranslate2's converter for Whisper would, quantised to int8."""
        from ctranslate2.specs import WhisperSpec

        dims, encoder, decoder = model.dims, model.encoder, model.decoder
        spec: Any = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
        for name in ("conv1", "conv2"):
            _linear(getattr(spec.encoder, name), getattr(encoder, name))
        spec.encoder.position_encodings.encodings = encoder.positional_embedding.numpy()
        _norm(spec.encoder.layer_norm, encoder.ln_post)
        for target, block in zip(spec.encoder.layer, encoder.blocks, strict=True):
            assert isinstance(block, Block)
            _block(target, block)
        spec.decoder.embeddings.weight = _array(decoder.token_embedding.weight)
        spec.decoder.projection.weight = _array(decoder.token_embedding.weight)
        spec.decoder.position_encodings.encodings = _array(decoder.positional_embedding)
        _norm(spec.decoder.layer_norm, decoder.ln)
        for target, block in zip(spec.decoder.layer, decoder.layers, strict=True):
            _block(target, block)
            _attention(target.attention, block.cross_attn, block.cross_attn_ln, fused=False)
        spec.register_vocabulary(_vocabulary(self._tokenizer))
        spec.config.alignment_heads = model.alignment_heads
        spec.config.suppress_ids = list(self._tokenizer.non_speech_tokens)
        spec.config.suppress_ids_begin = [self._tokenizer.eot]
        spec.config.lang_ids = []
        spec.validate()
        spec.optimize(quantization="int8")
        self._path.mkdir()
        spec.save(str(self._path))


def _vocabulary(tokenizer: Any) -> list[str]:
    """A name for each token: specials have their own, text is only numbered."""
    specials = range(tokenizer.eot, tokenizer.n_vocab)
    names = [f"text{i}" for i in range(tokenizer.eot)]
    return names + [tokenizer.encoding.decode_single_token_bytes(i).decode() for i in specials]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()


def _linear(spec: Any, *layers: nn.Linear | nn.Conv1d) -> None:
    """One layer, or several side by side; a missing bias is zero where another has one."""
    spec.weight = np.concatenate([_array(layer.weight) for layer in layers])
    if any(layer.bias is not None for layer in layers):
        biases = [torch.zeros(len(x.weight)) if x.bias is None else x.bias for x in layers]
        spec.bias = np.concatenate([_array(bias) for bias in biases])


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _attention(spec: Any, attention: Attention, norm: nn.LayerNorm, fused: bool) -> None:
    """Self-attention has query, key and value in one matrix; cross-attention the query in one of its own."""
    groups = [[attention.query, attention.key, attention.value]]
    if not fused:
        groups = [[attention.query], [attention.key, attention.value]]
    for target, group in zip(spec.linear, [*groups, [attention.out]], strict=True):
        _linear(target, *group)
    _norm(spec.layer_norm, norm)


def _block(spec: Any, block: Block) -> None:
    _attention(spec.self_attention, block.attn, block.attn_ln, fused=True)
    first, _, second = block.mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    _linear(spec.ffn.linear_0, first)
    _linear(spec.ffn.linear_1, second)
    _norm(spec.ffn.layer_norm, block.mlp_ln)
