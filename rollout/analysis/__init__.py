"""Verdicts that hold at any moment: always-valid statistics on what came in each look. See docs/verdicts.md."""
