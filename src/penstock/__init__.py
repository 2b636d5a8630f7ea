"""Services that talk through events."""
