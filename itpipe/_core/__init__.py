"""Values and descriptions: keys, steps, repr, checks, sizes, generators."""
