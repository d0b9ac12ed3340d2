"""Rules by which values follow from stated ones: what comes in are a case's values, out come those that follow.

``tables.toml`` holds the classifications, by organ and edition; nothing follows where the report does not say enough.
AJCC Cancer Staging Manual, 7th and 8th editions.
"""
