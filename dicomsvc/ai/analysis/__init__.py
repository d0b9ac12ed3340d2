"""The work item ``analyze``: a slide through a model, and what was found into the store.

In come UIDs and a model's name; the tile loop (`loop`) keeps what is done after each chunk (`checkpoint`), and at the
end the result objects enter by the one door, all or none (`results`). The same attempt made twice stores the same
objects once: their UIDs are made from the work item's.
"""
