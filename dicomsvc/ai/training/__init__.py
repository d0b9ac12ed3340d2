"""Trains the nuclei network and measures it: the extra ``train`` (PyTorch), needed by no other part of dicomsvc.

In come pictures with instance labels (`labelled`), labelled fluorescence whose nuclei are rendered as H&E (`bank`,
`backdrop`, `rendering`) and unlabelled slides; out comes a model folder (`export`). Everything here works at `MPP`
micrometres a pixel, and every crop is made from a seed and its number alone, so that a run can be resumed and repeated.
"""

from typing import Final

MPP: Final = 0.5
"""Micrometres a pixel that the network works at."""
