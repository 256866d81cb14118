"""What `pip install lml-live` brings."""

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_wheel_has_scripts_statements_and_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
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
