"""Rollouts that never were, as Prometheus would scrape them: to look at dashboards and to test them without one."""
