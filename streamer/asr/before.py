"""What a decoder is told was said before: the settings' prompt, and the last words that were said."""

from __future__ import annotations

from streamer.asr.decode import Decoded
from streamer.asr.tokenizer import Tokenizer
from streamer.config import TextConfig

MOST = 64
"""Tokens of the utterances before, about forty words: more would cost the prompt's room, and time."""


class Before:
    """The prompt of one stream's utterances, one after the other."""

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._prompt = tuple(tokenizer.encode(" " + config.prompt.strip())) if config.prompt.strip() else ()
        self._keeps = config.previous
        self._said: tuple[int, ...] = ()

    def prompt(self, soon: bool) -> tuple[int, ...]:
        """Tokens, most recent last, for an utterance that begins; `soon`: not long after the last."""
        if not soon:
            self._said = ()
        return self._prompt + self._said

    def said(self, decoded: Decoded, believed: bool) -> None:
        """An utterance has ended so. What is not believed, or repeats itself, would only breed more of it."""
        if not self._keeps:
            return
        if not believed or decoded.broke_loop or decoded.reached_limit:
            self._said = ()
            return
        text = tuple(token for token in decoded.tokens if token < self._tokenizer.eot)
        self._said = (self._said + text)[-MOST:]
