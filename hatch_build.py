"""Builds the library that resamples images, of src/foveal/geometry/resample.c: `python hatch_build.py`.

The build of a wheel does the same. Where no compiler is found the wheel is one of Python alone, and foveal gives the
same pixels, slower.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script
    BuildHookInterface = object

SOURCE = Path(__file__).resolve().parent / "src" / "foveal" / "geometry" / "resample.c"
NAME = {"win32": "libresample.dll", "darwin": "libresample.dylib"}.get(sys.platform, "libresample.so")
LIBRARY = SOURCE.with_name(NAME)
# Without fused multiply-adds: positions are the same to the last bit everywhere.
FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-trapping-math", "-fvisibility=hidden", "-shared"]
COMPILERS = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")


def build() -> str:
    """Return what went wrong when the library was built beside its source, or nothing."""
    LIBRARY.unlink(missing_ok=True)
    flags = FLAGS if sys.platform == "win32" else [*FLAGS, "-fPIC"]
    trouble = "there is no C compiler (cc, gcc or clang)"
    for compiler in filter(None, COMPILERS):
        command, *options = shlex.split(compiler)
        if shutil.which(command) is None:
            continue
        made = subprocess.run(  # noqa: S603 -- the compiler of whoever builds
            [command, *options, *flags, SOURCE, "-o", LIBRARY], capture_output=True, text=True, check=False
        )
        if made.returncode == 0:
            return ""
        trouble = f"{command} failed: {made.stderr.strip()}"
    return trouble


def platform_tag() -> str:
    """Return the platform that the library runs on, as wheels name it."""
    named = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return named.replace("universal2", platform.machine())


class CustomBuildHook(BuildHookInterface):
    """Puts the library into the wheel: one for every version of Python, as it knows nothing of it."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Build the library; without one the wheel is for any platform."""
        if trouble := build():
            self.app.display_warning(
                f"foveal is built without its library for images, and loads them slower: {trouble}"
            )
            return
        build_data["tag"] = f"py3-none-{platform_tag()}"
        build_data["pure_python"] = False
        build_data["artifacts"] = [f"/{LIBRARY.relative_to(SOURCE.parents[3]).as_posix()}"]


if __name__ == "__main__":
    sys.exit(build() or None)
