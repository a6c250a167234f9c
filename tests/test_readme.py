"""The README tells the truth about the code."""

import re
from pathlib import Path

import streamer

ROOT = Path(__file__).parent.parent
PACKAGE = Path(streamer.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_architecture_names_every_module_and_no_other() -> None:
    table = README[README.index("## Architecture") : README.index("## Limits")]
    rows = [row for row in table.splitlines() if row.startswith("| ") and not row.startswith("| module")]
    named = set()
    for row in rows:
        cell = row.split("|")[1]
        package = re.search(r"\*\*(\w+)/\*\*", cell)
        prefix = f"{package[1]}/" if package else ""
        for name in re.findall(r"`([\w/]+)`", cell):
            if "/" in name.rstrip("/"):
                prefix = name.split("/")[0] + "/"
                named.add(name)
            elif not name.endswith("/"):
                named.add(prefix + name)
    modules = {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in PACKAGE.rglob("*.py")
        if not path.name.startswith("__") and "_data" not in path.parts
    }
    assert named == modules


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
