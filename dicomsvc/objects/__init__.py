"""Result objects: segmentations, bulk annotations, structured reports, parametric maps, derived images.

In come a `SourceSlide`, what was found on it, and a `Provenance`; out go Part 10 files, written piece by piece to any
``write``. The same room reads them back. Rules: PS3.3 A.51 (SEG), A.87 (ANN), A.35.13 (SR), A.75 (Parametric Map),
A.32.8 (VL WSI); PS3.16 TID 1500.
"""
