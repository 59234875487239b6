"""Builds the compiled modules where that is possible; without a compiler the wheel is pure Python.

Set ``LOOKOUT_PURE_PYTHON=1`` to leave them out although there is a compiler.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Each compiled module and its source. ``exporters.compiled`` has the same names.
EXTENSIONS = {
    "tracer._core": "tracer/_core.c",
    "lookout_server.ingest._zipkin_scan": "lookout_server/ingest/_zipkin_scan.c",
    "lookout_server.spans._primitives": "lookout_server/spans/_primitives.c",
}


class BuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel; for an editable one puts them beside their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        editable = version == "editable"
        if editable:
            _remove_built(root)  # what was compiled from older sources must not be found
        self._scratch = tempfile.TemporaryDirectory(prefix="lookout-build-")
        target = root if editable else Path(self._scratch.name)
        try:
            if reason := _ruled_out():
                raise RuntimeError(reason)
            built = _compile(root, target, Path(self._scratch.name) / "objects")
        except (Exception, SystemExit) as error:
            self.app.display_warning(f"lookout: pure Python, nothing compiled: {_line(error)}")
            return
        if not editable:
            build_data["force_include"].update({str(target / name): name for name in built})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        self.app.display_info(f"lookout: compiled {', '.join(EXTENSIONS)}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._scratch.cleanup()


def _ruled_out() -> str | None:
    """The same reasons as in ``exporters.compiled``, which cannot be imported yet."""
    if os.environ.get("LOOKOUT_PURE_PYTHON", "").strip().lower() not in ("", "0", "false", "no"):
        return "LOOKOUT_PURE_PYTHON is set"
    if platform.python_implementation() != "CPython":
        return f"built with {platform.python_implementation()}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "built for an interpreter without its lock"
    return None


def _compile(root: Path, target: Path, objects: Path) -> list[str]:
    """Compile all modules into their packages below ``target``; gives their relative paths."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    flags = [] if sys.platform == "win32" else ["-O2", "-g0", "-fvisibility=hidden"]
    modules = [
        Extension(name, [str(root / source)], extra_compile_args=flags)
        for name, source in EXTENSIONS.items()
    ]
    command = build_ext(Distribution({"name": "lookout", "ext_modules": modules}))
    command.build_lib, command.build_temp = str(target), str(objects)
    command.ensure_finalized()
    command.run()
    return [command.get_ext_filename(module.name) for module in modules]


def _remove_built(root: Path) -> None:
    for source in EXTENSIONS.values():
        base = root / source.removesuffix(".c")
        for suffix in (".so", ".pyd"):
            for old in base.parent.glob(f"{base.name}.*{suffix}"):
                old.unlink()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
