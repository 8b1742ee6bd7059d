"""Hours of rollouts in minutes: what grows, and what is left."""
