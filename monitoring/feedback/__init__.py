"""What users did after they were answered: taken in, kept, and read by the analysis of A/B steps."""
