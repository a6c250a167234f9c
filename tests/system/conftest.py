"""Models for the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import make_model
from tests.system.daemon import bundled


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words are noise, and a dog barks all the time."""
    return make_model(tmp_path_factory.mktemp("models") / "noise")


@pytest.fixture(scope="session")
def model(tiny: Path) -> Path:
    """The model that ships, where it does, else the tiny one."""
    return bundled() or tiny
