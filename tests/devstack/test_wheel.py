"""What `pip install lml-live` brings."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def build_wheel(directory: Path, **environ: str) -> tuple[str, set[str]]:
    """A wheel's name and what is in it."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(REPOSITORY)]
    done = subprocess.run(command, cwd=directory, env=os.environ | environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel.name, set(archive.namelist())


def test_the_wheel_has_scripts_statements_and_pages(tmp_path: Path) -> None:
    name, packed = build_wheel(tmp_path)
    helper = "lml_live/gateway/send_frame.so"
    compiles = any(map(shutil.which, ("cc", "gcc", "clang")))
    assert (helper in packed) == compiles
    assert name.endswith("-any.whl") != compiles, "with the helper it is for this kind of machine"
    for folder, place in (
        ("lua", "lml_live/_assets/"),
        ("sql", "lml_live/_assets/"),
        ("lml_live/gateway/web", ""),
        ("lml_live/bench", ""),
    ):
        wanted = [
            path for path in (REPOSITORY / folder).rglob("*") if path.suffix in (".lua", ".sql", ".js", ".html", ".c")
        ]
        assert wanted, folder
        assert {place + str(path.relative_to(REPOSITORY)) for path in wanted} <= packed


def test_without_a_compiler_the_wheel_is_for_every_machine(tmp_path: Path) -> None:
    name, packed = build_wheel(tmp_path, PATH=str(tmp_path))
    assert name.endswith("-py3-none-any.whl")
    assert not any(path.endswith(".so") for path in packed)
    assert "lml_live/gateway/send_frame.c" in packed
