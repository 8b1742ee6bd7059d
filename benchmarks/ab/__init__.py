"""Whether the A/B test's interval holds at all looks together, what it costs, and which wrong splits it sees."""
