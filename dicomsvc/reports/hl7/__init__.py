"""Pathology results as HL7 v2 ORU^R01: `reading` makes received reports of a message, `writing` sends structured ones.

The rules are HL7 v2.5.1 chapter 7 (observations); messages themselves are those of `dicomsvc.hl7`.
"""
