"""SQL: a remote sink that writes rows, failed rows and its lane's cursor in one transaction.

Owns: options, tables and transactions of `type = "sql"`. `sqlite.py` is the one file that knows SQLite.
Always: a value that does not fit its column is a failed row, never converted in silence. No transaction without the fence.
Never: changes a table that exists, except by `event-processor sql apply`. Open `transactions.py` first.
"""
