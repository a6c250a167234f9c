"""Nothing that a test measures lands in the user's own cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("STREAMER_CACHE")
    os.environ["STREAMER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["STREAMER_CACHE"]
    else:
        os.environ["STREAMER_CACHE"] = before
