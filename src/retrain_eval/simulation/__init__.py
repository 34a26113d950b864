"""A synthetic agency: displaced workers, their employers, their training, and the truth about it."""

from retrain_eval.simulation.agency import Simulation, simulate
from retrain_eval.simulation.dropout import true_dropout, true_effects_by_access
from retrain_eval.simulation.no_gain import true_effects_of_groups
from retrain_eval.simulation.parameters import Parameters

__all__ = ["Parameters", "Simulation", "simulate", "true_dropout", "true_effects_by_access", "true_effects_of_groups"]
