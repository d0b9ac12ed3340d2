"""The layout of a report's text: what can be read, in which language, which sections and parts it has.

Nothing here knows a field. Offsets always point into the original text: what is normalised keeps its length.
"""
