"""The steps of `[[transforms]]`: how a record changes before it is judged.

Owns: the steps, the conversions, and the call of a user's own class.
Always: a transform is pure. Its answer depends only on the record.
Never: no record is dropped without a rejection. Open `steps.py` first.
"""
