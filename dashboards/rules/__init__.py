"""Prometheus rules: what is recorded, what alerts, and the tests of both.

`python -m lockgate.dashboards.rules` writes `dashboards/prometheus/` and the tables in docs/monitoring.md.
"""
