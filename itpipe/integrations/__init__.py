"""Other libraries: a file or a folder for each. None of them is imported before it is used."""
