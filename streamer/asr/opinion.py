"""The decoder's opinion on texts that another part proposes (rescoring, Watanabe et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from streamer.asr.tokenizer import Tokenizer
from streamer.nn.whisper import Whisper


@torch.inference_mode()
def opinions(
    model: Whisper, states: Tensor, tokenizer: Tokenizer, texts: Sequence[Sequence[int]]
) -> list[float]:
    """Natural log-probability of each text, its end included, given an encoding (1, T, D). One batch."""
    start = [*tokenizer.sot_sequence(), tokenizer.no_timestamps]
    rows = [[*start, *text, tokenizer.eot] for text in texts]
    width = max(map(len, rows)) - 1
    given = torch.full((len(rows), width), tokenizer.eot)
    wanted = torch.zeros((len(rows), width), dtype=torch.long)
    counts = torch.zeros((len(rows), width))
    for i, row in enumerate(rows):
        given[i, : len(row) - 1] = torch.tensor(row[:-1])
        chosen = slice(len(start) - 1, len(row) - 1)
        wanted[i, chosen] = torch.tensor(row[len(start) :])
        counts[i, chosen] = 1
    given, wanted, counts = (x.to(states.device) for x in (given, wanted, counts))
    logprobs = model.decoder(given, states.expand(len(rows), -1, -1)).float().log_softmax(-1)
    total: list[float] = (logprobs.gather(-1, wanted[..., None])[..., 0] * counts).sum(1).tolist()
    return total
