"""Follows a log through rotation, truncation and replacement.

Owns: which file is read, when it is finished, and which file comes next.
Always: a path has generations; each is read to its end before its successor.
Never: counts a file again from its start without a report. Open `path.py` first.
"""
