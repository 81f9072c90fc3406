"""When the matrix of scores is symmetric, and when attention ignores the order of its inputs."""

from mingpt.experiments.base import Experiment, register
from mingpt.experiments.measurements.symmetries import asymmetry, equivariance

register(
    Experiment(
        name="symmetry",
        question="When is the matrix of attention scores symmetric?",
        hypothesis=(
            "Exactly when W_q^T W_k is, on what the inputs span: for W_q = W_k and for the symmetrised product, not "
            "for free weights.  Its softmax by rows is not symmetric even then.  Without positions and mask, attention "
            "moves with a permutation of its inputs."
        ),
        measurements=(asymmetry, equivariance),
        figure=asymmetry.name,
    )
)
