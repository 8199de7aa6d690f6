"""Finished input in order: an external sort of its events, by runs on disk.

Owns: the runs in `state/sorted/`: how events are written to them, and how they are merged.
Always: memory does not grow with the input. A run is a file of the state, covered by a committed length like every other.
Never: decides when to sort. Open `runs.py` first.
"""
