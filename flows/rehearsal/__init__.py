"""Captured traffic, replayed offline through a spec's own steps and judge. See docs/planning.md."""
