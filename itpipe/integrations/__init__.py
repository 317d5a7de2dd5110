"""Other libraries: a file for each, which imports nothing of them before it is used."""
