"""Penstock's speed beside the raw loop and beside its peers. `README.md` says what is measured and how."""
