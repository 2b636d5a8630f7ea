"""Housekeeping: what somebody has to do now and then, whoever it is.

Every worker process does it beside its work, and so does ``penstock housekeeping``, as many of them as anyone likes:
each job takes a lease, so that one acts at a time, and none is unsafe if two did. A new job is a class like those here
and its name in `HOUSEKEEPING`.
"""

from penstock._housekeeping._jobs import Job, Keeping, Kept
from penstock._housekeeping._keeper import HOUSEKEEPING, Housekeeper, beside_work, keeping_of

__all__ = ["HOUSEKEEPING", "Housekeeper", "Job", "Keeping", "Kept", "beside_work", "keeping_of"]
