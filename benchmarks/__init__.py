"""The benchmarks: `python -m benchmarks --help`.

Owns: logs of every kind, how a process is measured, the measurements, and the page and the plot that show them.
Always: what is compared is measured in one run, in turns, on the same files; a result is checked before its time counts.
Never: nothing here is imported by the package.
"""
