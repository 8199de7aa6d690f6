"""Columns of ids, timestamps and texts, slices of events, and the paths of fields.

Owns: each form that a column takes between decoder, index, order stage and totals.
Always: a column gives the same values in every form; a Python object is made only when a caller asks for it.
Never: no outcome of a record is decided here. Open `ids.py` first.
"""
