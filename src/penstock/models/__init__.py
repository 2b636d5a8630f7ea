"""Change events of SQLAlchemy and Django models.

`penstock.models.sqlalchemy` and `penstock.models.django` have a mixin each; what they say is the same.
"""

from penstock.models._changes import Change, ModelEvents, change, events_of, without_change_events
from penstock.models._through import Emitter, Through

__all__ = ["Change", "Emitter", "ModelEvents", "Through", "change", "events_of", "without_change_events"]
