"""Reads stored slides: frames, levels, regions.

In go UIDs of a stored study, series or instance; out come encoded or decoded frames (`FrameReader`) and regions of any
level of a pyramid (`Slide`). Ruled by PS3.3 A.32.8 and C.8.12 (whole slide images) and PS3.5 8 (pixel data).
"""
