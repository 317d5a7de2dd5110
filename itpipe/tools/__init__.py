"""Functions that look into a stream or an `Infinite`. They are imported when they are first used."""
