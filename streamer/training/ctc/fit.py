"""Fine-tuning of an encoder of the wav2vec 2.0 family to write letters, by CTC (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from streamer.errors import StreamerError
from streamer.evaluation.texts import character_errors, word_errors
from streamer.nn.hugging_face import CONFIG, read_json, read_tensors
from streamer.nn.speech import SpeechEncoder
from streamer.nn.speech_checkpoint import FAMILIES, LoadedSpeech
from streamer.timebase import SAMPLE_RATE
from streamer.training.ctc.vocabulary import CASES, Vocabulary
from streamer.training.recordings import Utterance

ALL = -1
VOCABULARIES = ("auto", "keep", "build")
TENTH = SAMPLE_RATE // 10
"""Samples to whose multiples clips are learnt from: a processor's kernels are made anew for every length."""
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class CtcConfig:
    """What `streamer train ctc` can be told; config/training/ctc.toml has the defaults."""

    vocabulary: str = "auto"
    """keep: the checkpoint's letters; build: those of the transcripts; auto: keep where it has some."""
    case: str = "auto"
    """Of transcripts: lower, upper, keep; auto: as the checkpoint's letters, lower where they are built."""
    drop: str = ',.?!;:"“”„«»…()[]{}—–-_/'
    """Characters of transcripts that nobody says: each becomes a space."""
    fresh: bool = False
    """Random weights instead of the encoder's: what pretraining is worth is the difference."""
    extractor: bool = False
    """Whether the convolutions learn too."""
    unfreeze: int = ALL
    """Layers of the encoder that learn, the last ones; -1: all, with what comes before them."""
    steps: int = 2000
    batch: int = 8
    rate: float = 1e-4
    warmup: float = 0.1
    """Share of the steps until the rate is reached; from there it falls to 0."""
    every: int = 200
    """Steps between two evaluations, of which the best is kept."""
    dropout: float = 0.1
    mask_time: float = 0.05
    """Share of the frames that are masked while learning (SpecAugment), in spans of 10."""
    mask_feature: float = 0.0
    """Share of the channels, in spans of 10."""
    longest: float = 20.0
    """Seconds: longer utterances are left out."""
    held_out: float = 0.05
    """Share of the utterances that is set aside to choose the best by, where no split says which."""
    bf16: bool = False
    """Whether the bulk of the computing is in bfloat16."""
    seed: int = 0

    def checked(self) -> CtcConfig:
        """Itself. Raises StreamerError for values that make no sense."""
        if self.vocabulary not in VOCABULARIES or self.case not in CASES:
            raise StreamerError(
                f"expected vocabulary {', '.join(VOCABULARIES)} and case {', '.join(CASES)}; found "
                f"{self.vocabulary!r} and {self.case!r}"
            )
        if min(self.steps, self.batch, self.every) < 1 or self.unfreeze < ALL or not 0 < self.held_out < 1:
            raise StreamerError(
                "expected steps, batch and every of 1 or more, unfreeze of -1 or more and held_out between 0 "
                f"and 1; found {self.steps}, {self.batch}, {self.every}, {self.unfreeze}, {self.held_out}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance and the outputs that write its transcript."""

    utterance: Utterance
    ids: tuple[int, ...]


class CtcModel(nn.Module):
    """transformers' `…ForCTC`, fed clip by clip so that padding leaves no trace (see `nn.speech`)."""

    def __init__(self, network: Any, family: str, normalise: bool, blank: int) -> None:
        super().__init__()
        self.network = network
        self.blank = blank
        # Not a child: its parameters are the network's own.
        object.__setattr__(self, "encoder", SpeechEncoder(getattr(network, family), normalise))

    encoder: SpeechEncoder

    def log_probabilities(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Padded samples (B, n) of `lengths` (B,) -> (B, T, outputs), and frames of each clip (B,)."""
        clips = [row[:n].cpu().numpy() for row, n in zip(samples, lengths.tolist(), strict=True)]
        body = self.encoder.body
        features, mask = self.encoder.convolve(clips)
        hidden = body.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if self.training and hidden.shape[1] > body.config.mask_time_length:
            hidden = body._mask_hidden_states(hidden, attention_mask=mask.long())
        out = body.encoder(hidden, attention_mask=None if bool(mask.all()) else mask)[0]
        logits = self.network.lm_head(self.network.dropout(out))
        return logits.float().log_softmax(-1), mask.sum(1)

    def forward(self, samples: Tensor, lengths: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Padded samples (B, n) with lengths (B,) -> each frame's best output (B, T), -100 beyond a clip.

        With labels (B, L), -100 beyond a transcript, the loss too: the mean of each clip's, a letter.
        """
        scores, frames = self.log_probabilities(samples, lengths)
        best = scores.argmax(-1).detach()
        best[torch.arange(best.shape[1], device=best.device) >= frames[:, None]] = _IGNORED
        if labels is None:
            return {"best": best}
        own = labels != _IGNORED
        loss = F.ctc_loss(
            scores.transpose(0, 1), labels[own], frames, own.sum(1), self.blank, zero_infinity=True
        )
        return {"loss": loss, "best": best}


def make_model(
    checkpoint: Path, loaded: LoadedSpeech[SpeechEncoder], vocabulary: Vocabulary, config: CtcConfig
) -> CtcModel:
    """A network with the checkpoint's encoder, and its head where the letters are its own."""
    import transformers

    about = read_json(checkpoint / CONFIG)
    family = about["model_type"]
    settings = {
        "vocab_size": vocabulary.letters.outputs,
        "pad_token_id": vocabulary.blank,
        "mask_time_prob": config.mask_time,
        "mask_time_length": 10,
        "mask_feature_prob": config.mask_feature,
        "mask_feature_length": 10,
        "final_dropout": config.dropout,
        "hidden_dropout": config.dropout,
        "activation_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "layerdrop": 0.0,
        "ctc_zero_infinity": True,
    }
    sizes = getattr(transformers, f"{FAMILIES[family]}Config").from_dict(about | settings)
    network = getattr(transformers, f"{FAMILIES[family]}ForCTC")(sizes)
    body = getattr(network, family)
    if not config.fresh:
        body.load_state_dict(loaded.encoder.body.state_dict(), strict=False)  # all but masked_spec_embed
        mask = read_tensors(checkpoint).get(f"{family}.masked_spec_embed")
        if mask is not None and getattr(body, "masked_spec_embed", None) is not None:
            body.masked_spec_embed.data.copy_(mask)
        if loaded.ctc is not None and loaded.letters == vocabulary.letters:
            network.lm_head.load_state_dict(loaded.ctc.out.state_dict())
    _choose_what_learns(network, body, config)
    return CtcModel(network, family, loaded.encoder.normalise, vocabulary.blank)


def _choose_what_learns(network: Any, body: Any, config: CtcConfig) -> None:
    layers = list(body.encoder.layers)
    if config.unfreeze != ALL:
        body.requires_grad_(False)
        for layer in layers[max(0, len(layers) - config.unfreeze) :]:
            layer.requires_grad_(True)
    body.feature_extractor.requires_grad_(config.extractor)
    # transformers asks for gradients of the audio where this is set.
    body.feature_extractor._requires_grad = config.extractor
    network.lm_head.requires_grad_(True)


def collate(examples: Sequence[Example], whole: int = 1) -> dict[str, Tensor]:
    """A batch, padded to its own longest clip and transcript; each clip ends on a multiple of `whole`.

    The silence up to there counts as the clip's.
    """
    samples = [torch.from_numpy(example.utterance.samples) for example in examples]
    samples = [F.pad(one, (0, -len(one) % whole)) for one in samples]
    ids = [torch.tensor(example.ids) for example in examples]
    return {
        "samples": pad_sequence(samples, batch_first=True),
        "lengths": torch.tensor([len(one) for one in samples]),
        "labels": pad_sequence(ids, batch_first=True, padding_value=_IGNORED),
    }


def error_rates(best: Any, labels: Any, vocabulary: Vocabulary) -> dict[str, float]:
    """`wer` and `cer` in per cent, of best outputs (N, T) and labels (N, L), both filled with -100."""
    pieces = dict(zip(vocabulary.letters.ids, vocabulary.letters.pieces, strict=True))
    pairs = [
        ("".join(pieces[i] for i in truth if i != _IGNORED), vocabulary.decode(i for i in told if i >= 0))
        for truth, told in zip(labels.tolist(), best.tolist(), strict=True)
    ]
    words = [word_errors(truth, told) for truth, told in pairs]
    characters = [character_errors(truth, told) for truth, told in pairs]
    return {
        "wer": sum(words[1:], words[0]).rate,
        "cer": sum(characters[1:], characters[0]).rate,
    }
