"""Answers of stable and the candidate to the same requests, held against one another."""
