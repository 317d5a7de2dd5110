"""Other libraries: a file for each. None of them is imported before it is used."""
