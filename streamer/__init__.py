"""streamer: live captions and sound events from one pass of a Whisper encoder."""

__version__ = "0.1.0"
