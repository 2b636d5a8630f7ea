"""How `penstock.streams.valkey` does it. Nothing here is promised to anyone."""
