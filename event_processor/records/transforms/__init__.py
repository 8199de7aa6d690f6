"""The steps of `[[transforms]]`: how a record changes before it is judged.

Owns: each step, conversions, and the caller of a class of the user.
Always: a transform is pure: its answer depends on the record alone.
Never: an event is dropped without a rejection. Open `steps.py` first.
"""
