"""How fast itpipe is, as a ratio to a limit written by hand for the same work, measured in the same run."""
