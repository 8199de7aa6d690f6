"""Files: logs that are followed, finished input, and sinks that write files.

Owns: options, sources and sinks of `type = "file"`.
Always: a file is identified by its content, never by its name alone.
Never: writes to a log. Open `connector.py` first, then `following/path.py`.
"""
