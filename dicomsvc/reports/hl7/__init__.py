"""HL7 v2 (2.1 to 2.8): pathology results in and out as ORU^R01, over MLLP.

`reading` turns a message into received reports, `acknowledge` answers it, `mllp` listens, `writing` sends structured
reports out. The rules are HL7 v2.5.1 chapters 2 (encoding, acknowledgement) and 7 (observations), and the Minimal Lower
Layer Protocol of its transport specification. What comes is read leniently; what goes out is strict.
"""
