"""What the control path costs, and how long it takes to act."""
