"""``make demo-replay``: a read model gets a new column while it is written and read, and nobody notices.

Read it in this order: `board` (the read model, in two versions of its code), `reading` (who reads, and what he writes
down), `process` (what runs besides), `story` (what happens).
"""
