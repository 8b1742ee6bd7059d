"""What the store knows of rollouts, as Prometheus series: `monitoring/catalog.py` says which."""
