"""Trains networks and measures them: the extra ``train`` (PyTorch), needed by no other part of dicomsvc.

A recipe names a task (`tasks`); the task (`task`) brings data, network, loss and the model folder; a run (`fitting`)
trains it. For nuclei: pictures with instance labels (`labelled`), labelled fluorescence whose nuclei are rendered as
H&E (`bank`, `backdrop`, `rendering`) and unlabelled slides; these work at `MPP` micrometres a pixel. Every example is
made from a seed and its number alone, so that a run can be resumed and repeated.
"""

from typing import Final

MPP: Final = 0.5
"""Micrometres a pixel that the networks for nuclei work at."""
