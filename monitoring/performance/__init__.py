"""Drift of performance: whether the version that serves still answers as well as it once did, by labels that come."""
