"""JSON Lines: the kernels, blocks through msgspec, and the judge.

Owns: how a chunk is cut into lines, and which of the three reads each line.
Always: a line's outcome and fields are those that the judge alone would give.
Never: a record is rejected in words other than the judge's. Open `format.py` first.
"""
