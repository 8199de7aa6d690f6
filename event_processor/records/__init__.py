"""Bytes to events and back.

Owns: formats, the judge that decides on a record, transforms, and the formats that sinks write.
Always: the same chunk gives the same columns. Every faster reader gives the same result as the judge.
Never: nothing is read from or written to disk here. Open `json_lines/judge.py` first.
"""
