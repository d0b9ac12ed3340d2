"""Weights of the trained parts, and the tables that training reads. No text of a report is in them."""
