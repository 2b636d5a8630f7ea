"""Replays: a read model built anew beside the live one, compared with it, switched with it and back."""
