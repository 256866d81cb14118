"""Builds what the wheel brings beside Python: the compiled helper of the fan-out, where there is a C compiler.

Without one, or where it fails, the wheel is a wheel for every machine and the server sends in pure Python. An editable
installation gets the helper into the checkout.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("lml_live", "gateway", "send_frame.c")
FLAGS = ("-O2", "-fPIC", "-shared")
COMPILE_SECONDS_MAX = 60


class HelperHook(BuildHookInterface):  # type: ignore[type-arg]  # of no build configuration in particular
    """Adds `send_frame.so` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is packed; `version` is `standard` or `editable`."""
        source = Path(self.root) / SOURCE
        if version == "editable":
            self._compile(source, source.with_suffix(".so"))
            return
        self._directory = tempfile.mkdtemp(prefix="lml-helper-")
        library = Path(self._directory) / source.with_suffix(".so").name
        if self._compile(source, library):
            build_data["force_include"][str(library)] = str(SOURCE.with_suffix(".so"))
            # For this kind of machine, and, as it knows nothing of Python, for every Python on it.
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
            build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is packed."""
        if version != "editable":
            shutil.rmtree(self._directory, ignore_errors=True)

    def _compile(self, source: Path, library: Path) -> bool:
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            self.app.display_warning("There is no C compiler here: the server will send diffs in pure Python.")
            return False
        # Under another name first: a server that runs has the old one mapped, and goes on with that.
        fresh = library.with_suffix(".new")
        try:
            subprocess.run(  # noqa: S603 - the compiler that was found, on our own file
                [compiler, *FLAGS, "-o", str(fresh), str(source)],
                check=True,
                capture_output=True,
                timeout=COMPILE_SECONDS_MAX,
            )
            os.replace(fresh, library)
        except (OSError, subprocess.SubprocessError) as error:
            self.app.display_warning(f"The server will send diffs in pure Python, its helper was not built: {error}")
            return False
        return True
