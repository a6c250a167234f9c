"""The one interface: what the configuration asks for is what one gets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from streamer.config import VadConfig
from streamer.errors import MissingExtraError
from streamer.vad import make_vad
from streamer.vad.webrtc import WebrtcVad


def test_the_default_is_webrtc() -> None:
    assert isinstance(make_vad(VadConfig()), WebrtcVad)


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="320"):
        make_vad(VadConfig()).is_speech(np.zeros(480, np.float32))


def test_silero_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "silero_vad" else find(n))
    with pytest.raises(MissingExtraError, match=r"streamer\[silero\]"):
        make_vad(VadConfig(engine="silero"))


def test_importing_the_interface_loads_no_engine() -> None:
    code = "import sys, streamer.vad; assert not {'torch', 'webrtcvad', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
