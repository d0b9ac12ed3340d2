"""Colours of stains: preprocessing steps that models ask for by name.

In go pixels of tissue of the whole slide (`sample_tissue`), out come parameters that are kept with the result
(`fit_steps`), and with them every tile is changed alike, whatever machine does it (`apply_steps`). A slide from which
nothing can be learnt (empty, one colour) is left as it is, and its parameters say so.
"""

from dicomsvc.wsi.stain.sampling import sample_tissue
from dicomsvc.wsi.stain.step import Parameters, Step
from dicomsvc.wsi.stain.steps import STEPS, apply_steps, complete_settings, fit_steps

__all__ = ["STEPS", "Parameters", "Step", "apply_steps", "complete_settings", "fit_steps", "sample_tissue"]
