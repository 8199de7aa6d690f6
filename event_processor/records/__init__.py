"""Bytes to events and back.

Owns: formats, the judge that decides on a record, transforms, and the writing of sinks' formats.
Always: the same chunk gives the same columns; the judge's verdict is the contract for every faster way.
Never: nothing is read from or written to disk here. Open `json_lines/judge.py` first.
"""
