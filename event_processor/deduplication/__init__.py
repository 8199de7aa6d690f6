"""Which id is new: the index of every id that was ever accepted.

Owns: fingerprints, runs, filters, segments on disk and their merges.
Always: memory is a fixed buffer and at most two bytes for each id; an answer is exact but for the stated odds of a collision.
Never: an id is forgotten. Open `index.py` first.
"""
