"""From a wrong output to its cause, by testing hypotheses against the output itself.

A hypothesis says what a target may have done instead: another formula, statistics that see too few
columns, a rounding on the way, elements that were never written. It is named only where the tensor
that was observed lies within budget of what it says, in the smallest case, in the case in which the
failure was found, and in a few more that are called for the purpose. Nothing is guessed.
"""

from normcheck.diagnosis.search import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
