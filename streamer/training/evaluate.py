"""Word error rates of a speech model on packed clips: decoder and CTC, each greedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from streamer.asr.decode import DecodeOptions, decode
from streamer.asr.tokenizer import Tokenizer
from streamer.audio.mel import log_mel
from streamer.engine import context_for
from streamer.timebase import SAMPLE_RATE
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechModel


@dataclass(frozen=True, slots=True)
class SpeechScore:
    """Word error rates in per cent over a set, and how many utterances it had."""

    attention: float
    ctc: float
    utterances: int


def ctc_greedy(scores: torch.Tensor, tokenizer: Tokenizer) -> str:
    """The best path through (T, 1 + pieces) scores, repeats and blanks removed."""
    path = scores.argmax(-1).tolist()
    pieces = [p - 1 for p, before in zip(path, [0, *path], strict=False) if p and p != before]
    return tokenizer.decode(pieces).strip()


@torch.inference_mode()
def word_error_rates(
    model: SpeechModel, tokenizer: Tokenizer, pack: Pack, clips: Sequence[int], show: int = 0
) -> SpeechScore:
    """Decode clips one by one with the context the daemon would give them; texts in Whisper's normal form."""
    import jiwer
    from rich.progress import track
    from whisper.normalizers import EnglishTextNormalizer

    normal = EnglishTextNormalizer()
    wanted, attended, aligned = [], [], []
    for i in track(clips, "word error rate"):
        audio = pack.audio(i)[: 30 * SAMPLE_RATE]
        padded = np.pad(audio, (0, context_for(len(audio), short=True) - len(audio)))
        states = model.whisper.encode(torch.from_numpy(log_mel(padded))[None]).states
        options = DecodeOptions(duration=len(audio) / SAMPLE_RATE)
        wanted.append(normal(pack.clips[i].text or ""))
        attended.append(normal(decode(model.whisper, states, tokenizer, options).text))
        aligned.append(normal(ctc_greedy(model.ctc(states)[0], tokenizer)))
        if len(wanted) <= show:
            print(f"{wanted[-1]}\n  attention: {attended[-1]}\n  ctc:       {aligned[-1]}")
    return SpeechScore(100 * jiwer.wer(wanted, attended), 100 * jiwer.wer(wanted, aligned), len(wanted))
