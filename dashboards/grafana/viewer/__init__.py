"""Pictures of the dashboards without a Grafana server: Grafana's own components, in a headless Chromium.

Needs Node 20 with npm, Chromium and playwright, and 450 MB for what npm installs; only `docs/` is made with it.
"""
