"""``streamer bench fanout``."""

from __future__ import annotations

import resource

from click.testing import CliRunner

from streamer.cli import main
from streamer.cli.bench_fanout import OURS, THEIRS, allow_files
from tests.cli.conftest import lines


def test_every_client_gets_every_caption_from_both() -> None:
    arguments = ["bench", "fanout", "--clients", "3", "--messages", "4", "--repeat", "2"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    ours, theirs = lines(result.stdout)
    assert (ours["who"], theirs["who"]) == (OURS, THEIRS)
    assert ours["clients"] == 3
    assert ours["messages_per_second"] > 0
    assert theirs["ratio"] == 1


def test_no_more_files_than_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_files(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    try:
        allow_files(before[0] + 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert before[0] <= soft <= before[0] + 1
        assert hard == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
