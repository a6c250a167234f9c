"""Which frames are speech, and how frames become utterances."""

from streamer.vad.base import Vad, make_vad

__all__ = ["Vad", "make_vad"]
