"""Grafana dashboards as code: `python -m lockgate.dashboards.grafana generate` writes what is checked in."""
