"""Slides on their way in: by C-STORE (`dimse`), as vendor files (`convert`), by import, upload and watched folder.

Everything ends at the one door of the store. Rules: PS3.4 B, PS3.7, PS3.8 (network), PS3.3 A.32.8 (VL Whole Slide
Microscopy Image), PS3.10 (files, DICOMDIR).
"""
