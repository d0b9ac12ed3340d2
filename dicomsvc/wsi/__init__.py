"""Reads stored slides: frames, levels, regions, and what models see of them.

In go UIDs of a stored study, series or instance; out come encoded or decoded frames (`FrameReader`) and regions of any
level of a pyramid (`Slide`). For models: a slide at any resolution (`Plane`), where there is tissue (`detect_tissue`),
which tiles are looked at in which order (`make_plan`), and colours made alike (`stain`). Ruled by PS3.3 A.32.8 and
C.8.12 (whole slide images) and PS3.5 8 (pixel data).
"""
