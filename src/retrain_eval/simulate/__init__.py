"""A synthetic agency: displaced workers, their employers, their training, and the truth about it."""

from retrain_eval.simulate.agency import Simulation, simulate
from retrain_eval.simulate.parameters import Parameters

__all__ = ["Parameters", "Simulation", "simulate"]
