"""The totals of each category, by column over all categories.

Owns: adding a batch to the totals, first and last ids, and the form in which a checkpoint shows them.
Always: totals are immutable for the caller: adding a batch gives new ones.
Never: a category is opened here for a rejected or duplicate event. Open `totals.py` first.
"""
