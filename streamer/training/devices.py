"""Where training runs: on the CPU, a GPU, or several processes, by what accelerate finds at the start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import MissingExtraError, StreamerError

if TYPE_CHECKING:
    from accelerate import Accelerator


def accelerator(folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """The device of this process and its place among others that were launched with it.

    A GPU where torch has CUDA (or ROCm), else the CPU; Apple's is left alone, it has no CTC loss. trackers:
    accelerate's names of where curves go besides `log.jsonl`, which keep their files in `folder`. Raises
    StreamerError for a tracker that is unknown or not installed and for a launch that accelerate does not
    take part in, MissingExtraError without accelerate.
    """
    try:
        from accelerate import Accelerator
        from accelerate.tracking import get_available_trackers
        from accelerate.utils import LoggerType
    except ImportError as error:
        raise MissingExtraError("training speech", "train") from error
    import torch

    known = sorted(str(one) for one in LoggerType if one != LoggerType.ALL)
    installed = {str(one) for one in get_available_trackers()}
    for name in trackers:
        if name not in known:
            raise StreamerError(f"speech.trackers: expected some of {', '.join(known)}, found '{name}'")
        if name not in installed:
            raise StreamerError(
                f"speech.trackers: the package of '{name}' is not installed: pip install {name}, "
                "or leave it out"
            )
    # Of precision the trainer takes care, where it computes.
    one = Accelerator(
        mixed_precision="no",
        cpu=not torch.cuda.is_available(),
        log_with=list(trackers) or None,
        project_dir=folder,
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if one.num_processes != launched:  # each would train alone and write over the others' files
        raise StreamerError(
            f"expected {launched} processes that train together (WORLD_SIZE), found {one.num_processes}: "
            "launch them with torchrun or accelerate launch"
        )
    return one
