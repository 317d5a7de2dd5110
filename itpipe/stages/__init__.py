"""What users call: sources and stages, a file for each kind."""
