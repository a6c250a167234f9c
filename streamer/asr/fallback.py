"""Another try at a higher temperature for a text that repeats itself or is not likely (Radford et al. 2023).

As openai-whisper's `transcribe`, but over the encoding that there is: only the decoder runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.guards import compression_ratio


def decode_again(run: Callable[[DecodeOptions], Decoded], options: DecodeOptions) -> Decoded:
    """The first text that is believed, at the options' temperature and at each of `again`; or the last."""
    decoded = run(options)
    for temperature in options.again:
        if believed(decoded, options):
            break
        decoded = run(replace(options, temperature=temperature))
    return decoded


def believed(decoded: Decoded, options: DecodeOptions) -> bool:
    """Whether a text needs no other try. One that is probably silence needs none: it will not get better."""
    if decoded.no_speech_prob > options.no_speech and decoded.avg_logprob < options.least_logprob:
        return True
    repeats = compression_ratio(decoded.text) > options.compression or decoded.broke_loop
    return not repeats and decoded.avg_logprob >= options.least_logprob
