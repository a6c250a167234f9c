"""What a decoder makes of states: no transcripts are needed, its own text in the full context will do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.tokenizer import Tokenizer
from streamer.nn.bare import weights_digest
from streamer.nn.whisper import Whisper
from streamer.timebase import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Told:
    """A text and what decided it: tokens (n,) with all that they begin with; said (k, D) the decoder's last
    norm after each of the last k, k - 1 of which are text."""

    tokens: Tensor
    said: Tensor


class Scribe:
    """A decoder that learns nothing. language: None where it is to be detected."""

    def __init__(self, whisper: Whisper, tokenizer: Tokenizer, language: str | None) -> None:
        self.whisper, self._tokenizer, self._language = whisper, tokenizer, language
        whisper.decoder.requires_grad_(False)

    @property
    def identity(self) -> str:
        """Changes with anything that a text depends on."""
        return weights_digest(self.whisper.decoder, str(self._language))

    @torch.no_grad()
    def write(self, states: Tensor, samples: int) -> Told:
        """The text of one encoding (1, T, n_audio_state) of so many samples of audio."""
        options = DecodeOptions(self._language, duration=samples / SAMPLE_RATE)
        text = decode(self.whisper, states, self._tokenizer, options)
        start = [*self._tokenizer.sot_sequence(text.language), self._tokenizer.no_timestamps]
        tokens = [*start, *text.tokens][: self.whisper.dims.n_text_ctx]
        # What comes after the last of the beginning is the first of the text, and after the last its end.
        said = _last_norm(self.whisper, torch.tensor([tokens], device=states.device), states)
        return Told(torch.tensor(tokens), said[0, len(start) - 1 :])

    def distance(self, told: Told, states: Tensor) -> Tensor:
        """How much more these states (1, T, n_audio_state) leave open, in nats a token.

        Kullback-Leibler divergence of the next token's probabilities, given the text up to it.
        """
        self.whisper.decoder.to(states.device)
        embedding = self.whisper.decoder.token_embedding.weight
        wanted = F.linear(told.said.to(embedding.dtype), embedding).float().log_softmax(-1)
        found: Tensor = self.whisper.decoder(told.tokens[None], states)[0, -len(wanted) :]
        return F.kl_div(found.log_softmax(-1), wanted, reduction="sum", log_target=True) / len(wanted)


def _last_norm(whisper: Whisper, tokens: Tensor, states: Tensor) -> Tensor:
    """(1, n, D): what the decoder multiplies with its embedding to get logits."""
    seen: list[Tensor] = []

    def after(_: nn.Module, __: object, out: Tensor) -> None:
        seen.append(out)

    hook = whisper.decoder.ln.register_forward_hook(after)
    try:
        whisper.decoder(tokens, states)
    finally:
        hook.remove()
    return seen[0]
