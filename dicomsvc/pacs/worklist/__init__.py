"""Modality Worklist (PS3.4 K): what is scheduled to be scanned, so that a slide's barcode gives its patient.

In come orders, by REST (`routes`) and as HL7 v2 OML^O21, OML^O33 and ORM^O01 (`orders`, `messages`). They are kept
(`repository`) as entries (`entry`), one a scheduled procedure step of one slide, and as the items of the worklist that
these make (`items`), which a C-FIND searches (`find`). The items have the modules of PS3.3 C.4.10 to C.4.17 with the
specimen macro of C.7.6.22.
"""
