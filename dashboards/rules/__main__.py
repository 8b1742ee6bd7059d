"""Writes what is generated and checked in."""

from __future__ import annotations

from pathlib import Path

from lockgate.dashboards.rules.files import everything
from lockgate.dashboards.rules.page import filled

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    for name, text in everything().items():
        (ROOT / "dashboards" / "prometheus" / name).write_text(text, encoding="utf-8")
    page = ROOT / "docs" / "monitoring.md"
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
