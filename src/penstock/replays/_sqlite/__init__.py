"""Copies of read models in SQLite: a file beside the live one, and a switch inside the live file.

`copy.SqliteCopy` is what others use. A copy is written in a file of its own, so that its long transactions block
nobody. To be exchanged with the live tables it has to be in their file, which holds *shadow tables* for that: they are
filled in transactions of milliseconds, follow the copy's file by the changes that it notes, and are renamed in the end.

Each transaction writes one file. What the live file says is what is so; the copy's file carries a name of its content,
and one that is not the expected one is made again out of the shadow tables by whoever opens it next.
"""
