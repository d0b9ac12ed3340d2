"""Ways in: C-STORE (`dimse`), vendor slides (`convert`), files, uploads, watched folders.

Files become work items (`handlers.HANDLERS` does them); what comes out enters the store by its one door. Rules: PS3.4 B
and PS3.7 for the network, PS3.3 A.32.8 for what slides become, PS3.10 for files and DICOMDIR.
"""
