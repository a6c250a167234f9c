"""The built wheel: what is in it, and that it works far from the checkout.

Built by way of the sdist, so that this one is complete too, and installed into a folder of its own;
only its dependencies are those of the running Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import streamer

ROOT = Path(__file__).parent.parent


def call(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--no-index"]
    call(*pip, "--target", folder, wheel, cwd=folder)
    return folder


def python(site: Path, *arguments: str) -> str:
    """Run Python with the wheel's streamer, in a folder that holds nothing."""
    elsewhere = site / ".elsewhere"
    elsewhere.mkdir(exist_ok=True)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
    env = {**keep, "PYTHONPATH": str(site), "STREAMER_MODELS": str(elsewhere)}
    return call(sys.executable, *arguments, cwd=elsewhere, env=env)


def test_nothing_but_the_package_lands_in_site_packages(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name.split("-")[0] for name in names} == {"streamer"}
    assert len(names) == 2  # the package and its dist-info


def test_every_data_file_of_the_checkout_is_inside(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = call("git", "ls-files", "streamer", "models", "config", cwd=ROOT).split("\n") if _git() else []
    missing = [
        name
        for name in tracked
        if name and (ROOT / name).exists()
        if (name if name.startswith("streamer/") else f"streamer/_data/{name}") not in inside
    ]
    assert not missing
    assert "streamer/_data/config/default.toml" in inside
    assert not [name for name in inside if "__pycache__" in name or name.endswith((".log", ".orig"))]


def test_licence_and_extras_are_in_the_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Provides-Extra: whisper" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_installed_code_and_its_data_are_what_runs(site: Path) -> None:
    code = "import streamer, json; from streamer import resources as r; from streamer.settings import load\n"
    code += "print(json.dumps([streamer.__file__, str(r.config_dir()), load('captions').config.live.step]))"
    file, config, step = json.loads(python(site, "-P", "-c", code))
    assert file == str(site / "streamer" / "__init__.py")
    assert config == str(site / "streamer" / "_data" / "config")
    assert step == 0.4


def test_the_command(site: Path) -> None:
    assert streamer.__version__ in python(site, "-P", str(site / "bin" / "streamer"), "--version")


def test_the_bundled_model_transcribes_the_sample(site: Path) -> None:
    samples = sorted((site / "streamer" / "samples").glob("demo.*"))
    if not samples or not (site / "streamer" / "_data" / "models" / "bundled" / "model.toml").exists():
        pytest.skip("this checkout has no bundled model or no sample")
    command = ["-P", str(site / "bin" / "streamer")]
    listed = [json.loads(line) for line in python(site, *command, "models", "--json").splitlines()]
    assert "bundled" in {one.get("name") for one in listed}
    assert python(site, *command, "transcribe", str(samples[0])).strip()


def _git() -> bool:
    return (ROOT / ".git").exists()
