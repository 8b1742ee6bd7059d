"""Starts what watches: Prometheus, told of replicas and routers as they come and go."""
