"""Where a replica answers. Without an import: BentoML's supervisor reads this too, and serves nothing."""

from __future__ import annotations

PREDICT, INFO, DOCS, METRICS = "/predict", "/info", "/docs.json", "/metrics"
