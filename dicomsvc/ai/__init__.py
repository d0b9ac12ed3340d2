"""Models look at slides: which models there are, how they are called, what they found, as DICOM objects.

In comes a work item (a slide, a model, regions); out go SEG, ANN, SR, Parametric Map and VL WSI, all or none, by the
store's one door. Models run on Triton; a model is a folder of ``triton_models/`` with a manifest, not code.
"""
