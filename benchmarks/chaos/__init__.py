"""Kill anything, at any moment, under live load: what becomes of the rollout, and what clients see of it."""
