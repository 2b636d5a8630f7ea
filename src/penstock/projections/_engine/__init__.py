"""The engine of projections: pages, checkpoints, leases, policies. It knows no event classes and no SQLAlchemy."""
