"""HL7 v2 (2.1 to 2.8): messages, their acknowledgement, and the MLLP listener that one port serves all rooms with.

In come messages of any type; `mllp` hands each to the handler that a room gives for its type and event, and sends what
the handler answers. The rules are HL7 v2.5.1 chapter 2 (encoding, acknowledgement) and the Minimal Lower Layer Protocol
of its transport specification. What comes is read leniently; what goes out is strict. What a message means is the
matter of rooms above: `dicomsvc.reports.hl7` (results), `dicomsvc.pacs.worklist` (orders).
"""
