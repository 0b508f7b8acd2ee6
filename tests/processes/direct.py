"""The constant SDE of networks that return drift and noise themselves, without skips."""

from dataclasses import dataclass

from radiodiff.processes import ConstantSDE, Prediction


@dataclass(frozen=True)
class DirectSDE(ConstantSDE):
    def predict(self, outputs, x_t, t):
        return Prediction(*outputs)
