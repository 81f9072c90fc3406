"""Settings of recurrent models; what they choose among is named here, not loaded."""

from dataclasses import dataclass

from mingpt.core.variants import Variants

CELLS = Variants("mingpt.models.recurrent.cells:CELLS")
READOUTS = Variants("mingpt.models.rnn:READOUTS")
READINGS = Variants("mingpt.models.recurrent.layers:READINGS")
OBJECTIVES = Variants("mingpt.models.rnn:OBJECTIVES")


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Settings of recurrent models.

    Attributes:
        cell: what a recurrent layer does in one step
        readout: what the logits of an rnn are: linear: of the last layer's features; literal: those features themselves
        reading: what a birnn reads for one prediction: full: all of the text, so that it sees the answer, too;
            prefix: what came before, anew for every position
        objective: what a full birnn learns: next: the next token, which it sees; masked: tokens that are hidden
    """

    cell: str = "elman"
    readout: str = "linear"
    reading: str = "full"
    objective: str = "next"
