"""The wheel works where there is no checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from workflows.gin_config import gin_files

LOOK = """
import json
from pathlib import Path
import workflows
from shammie.packages import checkout, foreign_packages, home
from workflows.cli import main
from workflows.gin_config import gin_files, gin_root
from models.equal_info.codec import Codec
code = main(["list"]) or main(["plan", "equal_info", "--size", "tiny"])  # a shipped gin file that includes another
codec = Codec.default()
assert codec.decode(codec.encode(b"out of the wheel")) == b"out of the wheel"
print()
print(json.dumps({
    "code": code, "home": home(), "root": gin_root(), "gin": gin_files(), "foreign": foreign_packages(),
    "checkout": checkout(), "codecs": sorted(p.name for p in Path(home(), "models/equal_info").glob("*.codec")),
}))
"""


def test_wheel_from_an_empty_folder(tmp_path: Path, repository: Path) -> None:
    import json

    source, site, empty = tmp_path / "source", tmp_path / "site", tmp_path / "empty"
    source.mkdir()
    empty.mkdir()
    for name in ("shammie", "models", "seqio_tasks", "beam_jobs", "workflows", "gin"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(repository / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("shammie-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert "gin/equal_info/main.gin" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "code": 0,
        "home": str(site),
        "root": str(site / "shammie"),
        "gin": gin_files(),
        "foreign": {},
        "checkout": None,
        "codecs": sorted(path.name for path in (repository / "models/equal_info").glob("*.codec")),
    }
    assert not (site / "gin" / "equal_info").exists(), "nothing of ours inside the gin library"
