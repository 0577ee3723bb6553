"""Builds the page into a wheel or a source distribution, so that who installs them needs no Node.

An editable install is left alone: the server then gives its API without a page, and `make page`
builds it.
"""

import shutil
import subprocess
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "src/minigpt2/server/static/index.html"
INSTALLED = "node_modules/.package-lock.json"  # npm writes it last


class PageBuildHook(BuildHookInterface):
    """Runs `npm ci` and `npm run build` in web/ where what they make is missing or old."""

    PLUGIN_NAME = "custom"

    def initialize(self, version, build_data):
        """Build the page, before the files of the distribution are gathered."""
        if version == "editable":
            return
        web, built = Path(self.root, "web"), Path(self.root, BUILT)
        if not is_older(built, sources(web)):
            return
        npm = shutil.which("npm")
        if npm is None:
            if built.exists():
                return  # old, but whole
            raise SystemExit("minigpt2: building the page needs npm (Node 20.19 or newer) on PATH")
        if is_older(web / INSTALLED, [web / "package-lock.json"]):
            run([npm, "ci", "--no-audit", "--no-fund"], web)
        run([npm, "run", "build"], web)


def sources(web):
    """List every file that the page is made of."""
    own = [web / name for name in ("package-lock.json", "vite.config.js", "index.html")]
    return own + [path for part in ("src", "public") for path in (web / part).rglob("*.*")]


def is_older(target, files):
    """Tell whether a file is missing or older than one of those it is made of."""
    return not target.exists() or target.stat().st_mtime < max(f.stat().st_mtime for f in files)


def run(command, folder):
    """Run a command and stop with one line if it fails."""
    try:
        subprocess.run(command, cwd=folder, check=True)
    except subprocess.CalledProcessError as error:
        line = f"minigpt2: building the page failed: {' '.join(command)} in {folder}"
        raise SystemExit(line) from error
