"""Puts the data beside the package (models/, config/) inside it when a wheel is built.

In the wheel they are `streamer/_data/models` and `streamer/_data/config`, so that no generic name lands in
site-packages. An editable install sees the checkout's own; `streamer.resources` finds either.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataHook(BuildHookInterface):
    """Adds the data folders to standard wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build; `version` is "standard" or "editable"."""
        if self.target_name != "wheel" or version == "editable":
            return
        for folder in ("models", "config"):
            source = Path(self.root) / folder
            if source.is_dir():
                build_data["force_include"][str(source)] = f"streamer/_data/{folder}"
