"""wav2vec 2.0's pretraining (Baevski et al. 2020): which code belongs behind a mask?

Frames are hidden in spans, and for each the network has to tell the code of what was there from the codes
of `distractors` other hidden frames of the same clip (loss L_m, formula 3). The codes are chosen from
codebooks by a Gumbel softmax that grows colder; L_d (formula 4) keeps all of them in use. The network is
transformers' `Wav2Vec2ForPreTraining`; what this adds is what `nn.speech` adds, and that only hidden frames
cost anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from streamer.errors import CheckpointError, MissingExtraError, StreamerError
from streamer.nn.hugging_face import CONFIG, read_json, read_tensors
from streamer.nn.speech import SpeechEncoder, frames_of
from streamer.nn.speech_checkpoint import load_speech, part
from streamer.training.pretrain.crops import Crop, draw_mask, draw_others

HEADS = ("quantizer", "project_q", "project_hid")
MEASURES = ("loss", "contrastive", "accuracy", "perplexity", "target_similarity", "random_similarity")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a network that begins from nothing. The base model has 12 layers of 768 and seven times 512."""

    width: int = 256
    layers: int = 5
    heads: int = 4
    inner: int = 1024
    convolutions: tuple[int, ...] = (128, 128, 128, 192, 192, 256, 256)
    """Channels of the seven."""
    norm: str = "group"
    """Of the convolutions: group (as the base models) or layer (as the large ones)."""
    positions: int = 64
    """Frames that the convolution which tells positions sees."""
    groups: int = 2
    """Codebooks, and codes of each."""
    codes: int = 160
    code_width: int = 128


@dataclass(frozen=True, slots=True)
class Task:
    """What is hidden, what is asked, and how the codes are drawn."""

    mask: float = 0.65
    """Share of the frames that spans would cover if none overlapped."""
    span: int = 10
    distractors: int = 100
    contrast: float = 0.1
    """The temperature κ that similarities are divided by."""
    diversity: float = 0.1
    """Weight of L_d."""
    hottest: float = 2.0
    """The Gumbel temperature at the beginning; the lowest comes after the share `cooled` of the steps."""
    coldest: float = 0.5
    cooled: float = 0.7

    def gumbel(self, progress: float) -> float:
        """The temperature after the share `progress` of the steps, falling by the same factor each step.

        Published: from 2 to 0.5 in 277 thousand of 400 thousand steps.
        """
        if self.cooled <= 0:
            return self.coldest
        fallen = math.log(self.coldest / self.hottest) * progress / self.cooled
        return max(self.coldest, self.hottest * math.exp(fallen))


class Pretrainer(nn.Module):
    """A `Wav2Vec2ForPreTraining` and its task."""

    encoder: SpeechEncoder

    def __init__(self, network: Any, normalise: bool, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.temperature = task.hottest
        # Not a child: its parameters are the network's own.
        object.__setattr__(self, "encoder", SpeechEncoder(network.wav2vec2, normalise))

    def forward(self, samples: Tensor, lengths: Tensor, mask: Tensor, others: Tensor) -> dict[str, Tensor]:
        """The loss of a batch as `collate` makes it, and sums of its measures.

        measures: (1, 5) loss, right choices, hidden frames, similarities to targets and to distractors.
        used: (1, groups, codes) how often each code was chosen.
        """
        states, features = self._states(samples, lengths, mask)
        codes, chosen, soft = self._quantise(features)
        targets = self.network.project_q(codes).float()
        similar = F.cosine_similarity(
            states[:, None], torch.cat([targets[:, None], targets[others]], 1), dim=-1
        )
        # A distractor of the target's own code would be no wrong answer.
        same = (targets[others] == targets[:, None]).all(-1)
        logits = (similar / self.task.contrast).float()
        logits[:, 1:] = logits[:, 1:].masked_fill(same, float("-inf"))
        contrastive = F.cross_entropy(
            logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        )
        count = soft[0].numel()
        loss = contrastive + self.task.diversity * (count - perplexity(soft.mean(0))) / count
        with torch.no_grad():
            # Where all have the target's code there is nothing to choose.
            right = ((logits[:, 0] > logits[:, 1:].max(1).values) & ~same.all(1)).sum()
            sums = (
                contrastive * len(logits),
                right,
                len(logits),
                similar[:, 0].sum(),
                similar[:, 1:].mean(1).sum(),
            )
            measures = torch.stack(
                [torch.as_tensor(one, dtype=torch.float32, device=loss.device) for one in sums]
            )
        return {"loss": loss, "measures": measures[None], "used": chosen.detach().sum(0)[None]}

    def _states(self, samples: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Of the hidden frames: what the network expects (M, D), and what was there (M, C)."""
        body = self.network.wav2vec2
        clips = [row[:n].cpu().numpy() for row, n in zip(samples, lengths.tolist(), strict=True)]
        convolved, own = self.encoder.convolve(clips)
        hidden, normed = body.feature_projection(convolved)
        hidden = torch.where(mask[..., None], body.masked_spec_embed.to(hidden.dtype), hidden)
        out = body.encoder(hidden, attention_mask=None if bool(own.all()) else own)[0]
        return self.network.project_hid(out[mask]).float(), self.network.dropout_features(normed[mask])

    def _quantise(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(M, C) -> codes (M, D), which ones (M, groups, codes) in zeros and ones, their probabilities."""
        quantizer = self.network.quantizer
        logits = quantizer.weight_proj(features).float().unflatten(-1, (quantizer.num_groups, -1))
        if self.training:
            chosen = F.gumbel_softmax(logits, tau=self.temperature, hard=True)
            soft = logits.softmax(-1)
        else:
            chosen = soft = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        books = quantizer.codevectors.unflatten(1, (quantizer.num_groups, -1))[0]
        return torch.einsum("mgv,gvd->mgd", chosen, books).flatten(1), chosen, soft


def perplexity(shares: Tensor) -> Tensor:
    """How many codes are in use: exp of the entropy of each codebook's shares (groups, codes), summed."""
    return torch.exp(-torch.xlogy(shares, shares).sum(-1)).sum()


def measure(found: Any) -> dict[str, float]:
    """The measures of an evaluation from the sums of its batches."""
    sums, used = (torch.from_numpy(np.asarray(one)).double().sum(0) for one in found.predictions)
    loss, right, _, target, random = (sums / sums[2]).tolist()
    in_use = float(perplexity(used / used.sum(-1, keepdim=True)))
    return dict(zip(MEASURES[1:], (loss, right, in_use, target, random), strict=True))


@dataclass(frozen=True, slots=True)
class Collate:
    """Crops -> a batch: padded samples, their lengths, which frames are hidden, and the distractors of each.

    Distractors are numbers of hidden frames, counted through the batch.
    """

    task: Task

    def __call__(self, crops: Sequence[Crop]) -> dict[str, Tensor]:
        """See the class."""
        samples = [torch.from_numpy(crop.samples) for crop in crops]
        masks, others, before = [], [], 0
        for crop in crops:
            mask = draw_mask(frames_of(len(crop.samples)), self.task.mask, self.task.span, crop.rng)
            count = int(mask.sum())
            others.append(torch.from_numpy(before + draw_others(count, self.task.distractors, crop.rng)))
            masks.append(torch.from_numpy(mask))
            before += count
        return {
            "samples": pad_sequence(samples, batch_first=True),
            "lengths": torch.tensor([len(one) for one in samples]),
            "mask": pad_sequence(masks, batch_first=True),
            "others": torch.cat(others),
        }


def new_network(sizes: Sizes, dropout: float) -> Any:
    """A network with random weights. Raises StreamerError for sizes that do not fit together."""
    transformers = _transformers()
    if (
        len(sizes.convolutions) != 7
        or sizes.width % sizes.heads
        or sizes.code_width % sizes.groups
        or sizes.norm not in ("group", "layer")
    ):
        raise StreamerError(
            "expected seven convolutions, a width that the heads share, a code_width that the groups share, "
            f"and norm group or layer; found {len(sizes.convolutions)}, {sizes.width} for {sizes.heads}, "
            f"{sizes.code_width} for {sizes.groups}, {sizes.norm}"
        )
    config = transformers.Wav2Vec2Config(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        conv_dim=sizes.convolutions,
        feat_extract_norm=sizes.norm,
        conv_bias=sizes.norm == "layer",
        do_stable_layer_norm=sizes.norm == "layer",
        num_conv_pos_embeddings=sizes.positions,
        num_conv_pos_embedding_groups=sizes.heads,
        num_codevector_groups=sizes.groups,
        num_codevectors_per_group=sizes.codes,
        codevector_dim=sizes.code_width,
        proj_codevector_dim=sizes.code_width,
        **_dropouts(dropout),
    )
    return transformers.Wav2Vec2ForPreTraining(config)


def network_of(checkpoint: Path, dropout: float) -> tuple[Any, bool]:
    """A checkpoint's network, to go on with, and whether it wants normalised audio.

    Codebooks that the checkpoint lacks are new. Raises CheckpointError for another family, whose pretraining
    is another.
    """
    transformers = _transformers()
    about = read_json(checkpoint / CONFIG)
    if about.get("model_type") != "wav2vec2":
        raise CheckpointError(
            f"{checkpoint / CONFIG}: expected model_type 'wav2vec2', whose objective this is, found "
            f"{about.get('model_type')!r}"
        )
    loaded = load_speech(checkpoint)
    settings = (
        about | {"mask_time_prob": 0.05} | _dropouts(dropout)
    )  # without, there is no vector to mask with
    network = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config.from_dict(settings))
    network.wav2vec2.load_state_dict(loaded.encoder.body.state_dict(), strict=False)
    tensors = read_tensors(checkpoint)
    if (mask := tensors.get("wav2vec2.masked_spec_embed")) is not None:
        network.wav2vec2.masked_spec_embed.data.copy_(mask)
    for name in HEADS:
        if found := part(tensors, f"{name}."):
            getattr(network, name).load_state_dict(found)
    return network, loaded.encoder.normalise


def _dropouts(share: float) -> dict[str, float]:
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_quantizer_dropout")
    return dict.fromkeys(names, share) | {"feat_proj_dropout": share, "layerdrop": 0.0}


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("pretraining", "hf") from error
    return transformers
