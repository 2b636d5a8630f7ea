"""Ordered consumer groups: modes ``exclusive`` and ``keyed``.

One **lane** is one stream of a group, in the hands of one owner: whoever holds the lease ``group:<name>`` of that
stream. The lease is renewed by a task of its own, so it does not matter how long handlers take; every script that
settles checks it on the server, so a former owner that was paused, or cut off, changes nothing.

- `_worker` holds lanes: asks for free ones, keeps its share, gives back what is too much.
- `_members` knows which lanes there are and who else is there; `_share` says how many are fair.
- `_run` is one lane from its lease to its end: drained, lost, or the group gone underneath.
- `_reading` takes entries in: what is pending with the lane first, then new ones, without a gap between them.
- `_window` is what was taken in and not settled: who may start, who waits, and whether there is room for more.
- `_working` sees entries through: calls the listeners, and runs failing ones again in their place (`_tries`).
- `_settling` makes outcomes true on the server, under the lease, in the order in which they came.
- `_unparking` works off what was parked, once a person asks for it.

Why it is in order. The consumer's name is the lane's and not the process's, so a new owner finds all that former
owners left unsettled as its own pending entries, which it handles before anything new. Entries enter the window in the
order of the stream: a former owner's last read may still be waiting at the server and be handed an entry, which then is
pending and not read by us, so before entries are taken in it is made sure that none lies between the last one and them.
In the window, one entry of a **turn** is handled at a time: the turn is the event's key in ``keyed`` mode, and the
whole lane in ``exclusive`` mode.

What waits in memory is bounded: `GroupSettings.window` entries and `GroupSettings.byte_budget` bytes a lane, settled
ones not counted. A failing event waits with all that is behind it in its turn; other turns go on until the entries
behind it fill the window.

How often an event was tried in its place is known to the process alone. A new owner begins to count anew, so over
hand-overs an event may be tried more often than its `Retry` says, never less.
"""
