"""Projections: events of a store turned into read models, each exactly once."""

from penstock.projections.derived import Derived
from penstock.projections.elsewhere import ElsewhereReadModel
from penstock.projections.generation import Generation
from penstock.projections.mapper import PayloadMapper
from penstock.projections.projection import Projection, ProjectionOptions
from penstock.projections.read_models import ReadModel, Rows

__all__ = [
    "Derived",
    "ElsewhereReadModel",
    "Generation",
    "PayloadMapper",
    "Projection",
    "ProjectionOptions",
    "ReadModel",
    "Rows",
]
