"""Fill .venv: torch first and alone, then everything else at the versions of constraints.txt.

Started by bin/setup with a profile ("run" or "test") and the stamp to leave behind when all is done. Several
may start at once: one works, the others wait for it. A run that was interrupted leaves a marker, and the next
one starts from an empty environment. Only the standard library is used here.

    STREAMER_TORCH=cuda bin/streamer …     takes torch as the package index has it (on Linux: with CUDA)

A torch that is already in .venv is kept, whatever its version.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NOISE = re.compile(r"WARNING: Location '.*' is ignored|\[notice\]|^\s*$")
"""Lines of pip that say nothing to the reader: an index without this package, an upgrade of pip."""

REFERENCE = "openai-whisper"
"""The tests compare with it. Installed without its dependencies because one of them, triton (1 GB on disk,
for GPUs only), is not needed to import it; the others are in the `test` extra."""


def say(text: str) -> None:
    """Progress, for whoever waits; standard output is the program's own."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def pip(python: Path, *arguments: str, optional: bool = False) -> bool:
    """Run pip; whether it worked. Where it did not, its messages are shown.

    If `optional`, that no index has such a distribution is no failure worth showing.
    """
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    # close_fds: pip shares the lock, which so outlives this process where only this one is killed.
    done = subprocess.run(command, text=True, capture_output=True, cwd=ROOT, check=False, close_fds=False)
    if done.returncode == 0:
        return True
    if not (optional and "No matching distribution found" in done.stderr):
        lines = (done.stdout + done.stderr).splitlines()
        print("\n".join(line for line in lines if not NOISE.search(line)), file=sys.stderr, flush=True)
        # Any other failure (no room, a broken connection) must not end in a bigger download.
        require(not optional, arguments[1])
    return False


def require(worked: bool, what: str) -> None:
    """Stop where a step has failed."""
    if not worked:
        sys.exit(f"setup: could not install {what}, see above. The same command again goes on from here.")


def pinned(package: str) -> str:
    """The line of constraints.txt for `package`."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line
    sys.exit(f"setup: constraints.txt does not pin {package}")


def constraints_without_torch() -> tuple[str, str]:
    """pip's arguments for constraints.txt without its torch, whose build is a decision of its own."""
    file = ROOT / ".venv" / "constraints-without-torch.txt"
    lines = (ROOT / "constraints.txt").read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("torch==")))
    return "--constraint", str(file)


def make_venv(venv: Path, marker: Path) -> None:
    """An environment that works: a new one where there is none, or where it is broken or half filled."""
    python = venv / "bin/python"
    if marker.exists():
        say(f"the last installation into {venv.name} was interrupted: starting anew")
    elif python.exists():
        probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0:
            return
        say(f"the Python of {venv.name} does not run any more or is too old: starting anew")
    else:
        say(f"making {venv.name} with Python {platform.python_version()}")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True, check=False)
    if made.returncode:
        print(made.stdout, made.stderr, file=sys.stderr)
        sys.exit("setup: could not make a virtual environment (Debian, Ubuntu: apt-get install python3-venv)")


def installed_version(python: Path, package: str) -> str:
    """The version of `package` in the environment, empty if it is not there."""
    probe = f"import importlib.metadata as m; print(*(d.version for d in m.distributions(name={package!r})))"
    found = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    return found[0] if found else ""


def install_torch(python: Path) -> None:
    """torch: its CPU build, unless somebody has decided otherwise."""
    found = installed_version(python, "torch")
    if found:
        say(f"torch {found} is there already")
        return
    torch, exact = pinned("torch"), constraints_without_torch()
    if os.environ.get("STREAMER_TORCH") == "cuda" or sys.platform != "linux":
        say(f"installing {torch}")
        require(pip(python, "install", torch, *exact), torch)
        return
    say(f"installing {torch}, the CPU build (about 200 MB)")
    cpu = f"{torch}+cpu"
    if pip(python, "install", cpu, *exact, optional=True):
        return
    # Only PyTorch's own index has the CPU builds. It may be out of reach: one attempt, and not a long one.
    once = ("--extra-index-url", CPU_INDEX, "--retries", "0", "--timeout", "10")
    if pip(python, "install", cpu, *exact, *once, optional=True):
        return
    say(f"no CPU build of torch found and {CPU_INDEX} does not answer: installing the ordinary build.")
    say("on Linux that one brings CUDA libraries, several GB of them")
    require(pip(python, "install", torch, *exact), torch)


def install(python: Path, *requirements: str) -> bool:
    """Install at the versions of constraints.txt, apart from torch's, which stays as it is."""
    kept = f"torch=={installed_version(python, 'torch')}"
    return pip(python, "install", *constraints_without_torch(), kept, *requirements)


def fill(profile: str, marker: Path) -> None:
    """Install everything of a profile into .venv; `marker` exists while pip is at work."""
    venv = ROOT / ".venv"
    make_venv(venv, marker)
    marker.touch()
    python = venv / "bin/python"
    install_torch(python)
    require(install(python, pinned("hatchling")), "hatchling")
    target, text = (".[test]", "and what the tests need") if profile == "test" else (".", "and what it needs")
    say(f"installing streamer {text}")
    require(install(python, "--no-build-isolation", "--editable", target), "streamer's dependencies")
    if profile == "test" and not installed_version(python, REFERENCE):
        say(f"installing {REFERENCE}, the reference of the tests, without triton")
        require(pip(python, "install", "--no-deps", pinned(REFERENCE)), REFERENCE)
    marker.unlink()


def main(profile: str, stamp: str) -> None:
    """Make .venv ready and leave the stamp."""
    began = time.monotonic()
    # The lock is on the checkout's folder itself, so that it survives .venv being made anew, and the system
    # lifts it however this process ends.
    lock = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another one is setting up: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    ready = ROOT / ".venv" / f".ready-{profile}"
    if ready.is_file() and ready.read_text() == f"{stamp}\n":
        return
    marker = ROOT / ".venv" / ".installing"
    try:
        fill(profile, marker)
    except SystemExit:
        marker.unlink(missing_ok=True)  # pip has failed in good order: what is there can stay
        raise
    # What the tests need includes everything that running needs.
    for name in {"test": ("test", "run"), "run": ("run",)}[profile]:
        scratch = ROOT / ".venv" / f".ready-{name}.new"
        scratch.write_text(f"{stamp}\n")
        scratch.replace(ROOT / ".venv" / f".ready-{name}")
    say(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        sys.exit(130)
