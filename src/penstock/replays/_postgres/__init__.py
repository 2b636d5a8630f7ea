"""Copies of read models on PostgreSQL: a schema of its own for each, beside the live tables."""
