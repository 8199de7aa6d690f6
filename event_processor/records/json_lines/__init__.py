"""JSON Lines, read by three readers: the kernels, blocks through msgspec, and the judge.

Owns: how a chunk is cut into lines, and which reader reads each line.
Always: a line has the outcome and the fields that the judge alone would give.
Never: only the judge writes the reason of a rejection. Open `format.py` first.
"""
