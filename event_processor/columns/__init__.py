"""Columns of ids, timestamps and texts, slices of events, and the paths of fields.

Owns: each form that a column takes between decoder, index, order stage and totals.
Always: a column gives the same values in every form. It makes a Python object only if a caller asks for one.
Never: decides the outcome of a record. Open `ids.py` first.
"""
