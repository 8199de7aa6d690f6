"""Decides which id is new: the index of every id that was ever accepted.

Owns: fingerprints, runs, filters, segments on disk and their merges.
Always: memory is a fixed buffer plus at most two bytes per id. Answers are exact, except for the stated odds of a collision.
Never: forgets an id. Open `index.py` first.
"""
