"""Renderers: plain data in, text, HTML, SVG or JSON out. They know nothing of runs."""
