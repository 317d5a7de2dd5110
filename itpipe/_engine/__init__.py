"""One run: streams, operators, order, seeds, positions, the background thread."""
