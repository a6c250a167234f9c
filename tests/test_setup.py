"""bin/streamer and bin/setup: a warm start costs next to nothing, and a cold one knows what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout's scripts in a folder with a space in its name, with a .venv whose programs only report."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "bin", folder / "bin", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    program(folder / ".venv/bin/streamer", 'printf "[%s]" "$@"; exit 3')
    program(folder / ".venv/bin/python", "exit 0")
    return folder


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def start(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def make_ready(checkout: Path) -> Path:
    """What a finished set-up leaves: the stamp that bin/setup hands to Python."""
    recorder = program(
        checkout / "recorder", f'[ "$1" = -c ] || printf "%s\\n" "$3" >"{checkout}/.venv/.ready-$2"'
    )
    done = start(checkout / "bin/setup", "run", PYTHON=str(recorder))
    assert done.returncode == 0, done.stderr
    return recorder


def test_a_warm_start_passes_everything_on(checkout: Path, tmp_path: Path) -> None:
    make_ready(checkout)
    link = tmp_path / "link"
    link.symlink_to(checkout / "bin/streamer")
    for script in (checkout / "bin/streamer", link):
        done = start(script, "run", "--source", "a b", "", PYTHON="/nowhere")
        assert (done.stdout, done.stderr, done.returncode) == ("[run][--source][a b][]", "", 3)


def test_a_warm_start_is_quick(checkout: Path) -> None:
    make_ready(checkout)
    took = []
    for _ in range(10):
        began = time.perf_counter()
        start(checkout / "bin/streamer")
        took.append(time.perf_counter() - began)
    # 10 ms on an idle machine; the best of ten on a busy one.
    assert min(took) < 0.05


@pytest.mark.parametrize("change", ["pyproject.toml", "constraints.txt", "bin/setup.py"])
def test_a_change_of_what_is_installed_sets_up_again(checkout: Path, change: str) -> None:
    make_ready(checkout)
    with (checkout / change).open("a") as file:
        file.write("# changed\n")
    done = start(
        checkout / "bin/streamer", PYTHON=str(program(checkout / "loud", '[ "$1" = -c ] || echo "$@"; '))
    )
    assert done.stdout.startswith("bin/setup.py run ")


def test_a_checkout_that_moved_sets_up_again(checkout: Path, tmp_path: Path) -> None:
    recorder = make_ready(checkout)
    moved = checkout.rename(tmp_path / "moved")
    loud = program(moved / recorder.name, '[ "$1" = -c ] || echo again')
    assert start(moved / "bin/streamer", PYTHON=str(loud)).stdout.startswith("again")


def test_without_a_fit_python_the_error_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or "")
    program(tools / "python3", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    done = start(checkout / "bin/streamer", PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer, found Python 3.9.2" in done.stderr
    assert "apt-get install python3" in done.stderr
