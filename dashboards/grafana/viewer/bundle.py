"""Makes the viewer: npm installs what the lock file names, esbuild makes one script of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lockgate.dashboards.grafana.errors import NoViewer

SOURCES = Path(__file__).parent
_ESBUILD = (
    *("node_modules/.bin/esbuild", "app.jsx", "--bundle", "--minify", "--outfile=dist/app.js", "--jsx=automatic"),
    *(f"--loader:.{kind}=dataurl" for kind in ("woff2", "ttf", "svg", "png")),
    *('--define:process.env.NODE_ENV="production"', "--define:global=window", "--log-level=warning"),
)
_SCHEMA = (
    *("node_modules/.bin/ts-json-schema-generator", "--path", "schema/lockgate.ts"),
    *("--tsconfig", "schema/tsconfig.json", "--type", "Lockgate", "--expose", "none", "--jsDoc", "none"),
    "--no-type-check",
)


def bundled(work: Path) -> Path:
    """The folder with app.js, app.css and page.html. `work`: where it is made; 450 MB, kept for the next time."""
    _installed(work)
    _run(work, *_ESBUILD)
    shutil.copy(SOURCES / "page.html", work / "dist")
    return work / "dist"


def schema(work: Path) -> str:
    """A JSON schema of what the dashboards may hold, made of Grafana's own types."""
    _installed(work)
    return _run(work, *_SCHEMA)


def _installed(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.iterdir():
        if source.suffix in (".js", ".jsx", ".css", ".json"):
            shutil.copy(source, work)
    shutil.copytree(SOURCES / "schema", work / "schema", dirs_exist_ok=True)
    lock = (work / "package-lock.json").read_bytes()
    done = work / "installed.json"
    if not done.exists() or done.read_bytes() != lock:
        _run(work, "npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund")
        done.write_bytes(lock)


def _run(work: Path, *command: str) -> str:
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    except FileNotFoundError as reason:
        raise NoViewer(f"{command[0]} is missing; the viewer needs Node 20 with npm") from reason
    if done.returncode:
        raise NoViewer(f"{' '.join(command[:2])} fails in {work}: {done.stderr[-2000:]}")
    return done.stdout
