"""What an event store costs beside hand-written SQL and beside what a user would take instead."""
